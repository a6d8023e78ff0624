"""Anatomy sources by name: the organ maps, or a label volume with its names."""

from __future__ import annotations

from collections.abc import Mapping

from bioatt.anatomy.descriptors import ANATOMY_SET, load_descriptor_set
from bioatt.anatomy.sources import AnatomySource
from bioatt.core.errors import InputError
from bioatt.core.volume import Volume
from bioatt.priors import build_prior


def build_anatomy(source: str, device: str = "cpu") -> AnatomySource:
    """Build an anatomy source: "maps" (the organ maps) or "segmentation:LABELS[,TABLE.json]" (a label file).

    device: torch device for the organ maps. Raises InputError for another source, and as `build_prior`.
    """
    if source != "maps" and not source.startswith("segmentation:"):
        raise InputError(f"unknown anatomy source {source!r}: use maps, or segmentation:LABELS[,TABLE.json]")
    built: AnatomySource = build_prior(source, descriptors=load_descriptor_set(ANATOMY_SET), device=device)  # type: ignore[assignment]
    return built


def anatomy_of_labels(labels: Volume, names: Mapping[int, str]) -> AnatomySource:
    """Build an anatomy source from a label volume on any grid. names: structure of each value.

    Raises InputError if no name is known to the descriptor set.
    """
    from bioatt.priors.segmentation import Segmentation, SegmentationPrior  # reads files: needs SimpleITK

    descriptors = load_descriptor_set(ANATOMY_SET)
    return SegmentationPrior(Segmentation(labels, names), descriptors, build_prior("maps", descriptors=descriptors))
