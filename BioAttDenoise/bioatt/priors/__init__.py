"""Anatomical priors: the anatomy in each slice as a distribution over descriptors (paper §2.1).

    build_prior("maps", descriptors=load_descriptor_set("paper17")).probabilities(volume).p    # (slices, 17)

Sources: `maps` (the shipped organ maps; `maps:spatial` for p (N, H, W)), `biomedclip[:FOLDER]` (the paper's),
`uniform`, `random[:SEED]`,
`segmentation:LABELS[,TABLE.json]` (spatial) and `FILE.json` (written by `bioatt prior --json`).
"""

from __future__ import annotations

from pathlib import Path

from bioatt.anatomy.descriptors import DescriptorSet
from bioatt.core.errors import InputError
from bioatt.priors.base import AnatomicalPrior, Prior
from bioatt.priors.simple import FixedPrior, RandomPrior, UniformPrior
from bioatt.priors.smoothing import SmoothedPrior

__all__ = ["AnatomicalPrior", "FixedPrior", "Prior", "RandomPrior", "SmoothedPrior", "UniformPrior", "build_prior"]

FORMER_NAMES = {"embedded": "maps"}
"""Source names in scripts, scenes and model files of earlier versions, and their current names."""


def build_prior(
    source: str, *, descriptors: DescriptorSet, device: str = "cpu", smoothing: bool = True, complete: bool = True
) -> AnatomicalPrior:
    """Build the prior that `source` names (see above), over `descriptors`.

    device: torch device for networks. smoothing: smooth along z, for sources that look at slices. complete: in a
    spatial prior, assign the slice's p to pixels without any descriptor, for networks that need p to sum to 1
    (`BioAttNetwork.none_passes`).
    Raises InputError for an unknown source, an unusable file, or a source that does not know the descriptors.
    """
    source = FORMER_NAMES.get(source, source)
    kind, _, detail = source.partition(":")
    names = descriptors.descriptors
    if source.lower().endswith(".json") and kind != "segmentation":
        return FixedPrior.from_file(Path(source))
    if source in ("maps", "maps:spatial"):
        from bioatt.priors.organ_maps import OrganMapPrior

        return OrganMapPrior(
            descriptors, device, spatial=source == "maps:spatial", smoothing=smoothing, complete=complete
        )
    if kind == "biomedclip":
        from bioatt.priors.biomedclip.prior import BiomedCLIPPrior

        biomedclip = BiomedCLIPPrior(descriptors, detail, device)
        return SmoothedPrior(biomedclip) if smoothing else biomedclip
    if kind == "segmentation":
        from bioatt.priors.segmentation import SegmentationPrior, read_segmentation

        labels, _, table = detail.partition(",")
        within = build_prior("maps", descriptors=descriptors, device=device, smoothing=smoothing)
        found = read_segmentation(Path(labels), Path(table) if table else None)
        return SegmentationPrior(found, descriptors, within, complete=complete)
    if source == "uniform":
        return UniformPrior(names)
    if kind == "random":
        try:
            return RandomPrior(names, int(detail or 0))
        except ValueError:
            raise InputError(f"the seed of a random prior must be a number, not {detail!r}") from None
    raise InputError(
        f"unknown prior {source!r}: use maps, biomedclip, uniform, random, segmentation:LABELS or a .json file"
    )
