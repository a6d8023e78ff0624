"""Anatomy sources by name: the organ maps, a label volume with its names, or TotalSegmentator."""

from __future__ import annotations

from collections.abc import Mapping

from bioatt.anatomy.descriptors import ANATOMY_SET, load_descriptor_set
from bioatt.anatomy.sources import AnatomySource
from bioatt.core.errors import InputError
from bioatt.core.volume import Volume
from bioatt.priors import build_prior


def build_anatomy(source: str, device: str = "cpu") -> AnatomySource:
    """Build "maps" (the organ maps), "segmentation:LABELS[,TABLE.json]" (a label file) or "totalsegmentator".

    device: torch device for the network. Raises InputError for another source, and as `build_prior` and
    `TotalSegmentator`.
    """
    if source == "totalsegmentator":
        from bioatt.priors.total_segmentator import TotalSegmentator  # reads files: needs SimpleITK

        return TotalSegmentator(build_prior("maps", descriptors=load_descriptor_set(ANATOMY_SET)), device)
    if source != "maps" and not source.startswith("segmentation:"):
        raise InputError(
            f"unknown anatomy source {source!r}: use maps, segmentation:LABELS[,TABLE.json] or totalsegmentator"
        )
    built: AnatomySource = build_prior(source, descriptors=load_descriptor_set(ANATOMY_SET), device=device)  # type: ignore[assignment]
    return built


def anatomy_of_labels(labels: Volume, names: Mapping[int, str]) -> AnatomySource:
    """Build an anatomy source from a label volume on any grid. names: structure of each value.

    Raises InputError if no name is known to the descriptor set.
    """
    from bioatt.priors.segmentation import Segmentation, SegmentationPrior  # reads files: needs SimpleITK

    descriptors = load_descriptor_set(ANATOMY_SET)
    return SegmentationPrior(Segmentation(labels, names), descriptors, build_prior("maps", descriptors=descriptors))
