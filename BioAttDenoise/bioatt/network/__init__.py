"""The networks: organ-aware attention in the paper's RED-CNN and in U-nets. Needs only torch."""

from __future__ import annotations

from bioatt.network.base import ARMS, STAGES, WEIGHTINGS, Arm, BioAttNetwork, Layout, Stage, Weighting
from bioatt.network.gated_unet import GatedUNet
from bioatt.network.red_cnn import RedCnn
from bioatt.network.slab_unet import SlabUNet
from bioatt.network.unet import UNet

__all__ = [
    "ARMS",
    "LAYOUTS",
    "STAGES",
    "WEIGHTINGS",
    "Arm",
    "BioAttNetwork",
    "Layout",
    "Stage",
    "Weighting",
    "build_network",
]

LAYOUTS: dict[Layout, type[RedCnn] | type[UNet] | type[SlabUNet] | type[GatedUNet]] = {
    "red_cnn": RedCnn,
    "unet": UNet,
    "slab_unet": SlabUNet,
    "gated_unet": GatedUNet,
}


def build_network(
    arm: Arm = "bioatt",
    filters: int = 96,
    descriptors: int = 17,
    weighting: Weighting = "anatomical",
    layout: Layout = "red_cnn",
) -> BioAttNetwork:
    """Build a network of Table 1 with newly initialised weights.

    filters: 96 in the paper; fewer for a smaller model. descriptors: N. weighting: ablations of the bioatt arm.
    layout: the paper's RED-CNN, a U-net, a U-net with neighbouring slices as input, or one with gated skips.
    Raises ValueError for an unknown arm or layout.
    """
    if arm not in ARMS:
        raise ValueError(f"unknown arm {arm!r}: choose one of {', '.join(ARMS)}")
    if layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}: choose one of {', '.join(LAYOUTS)}")
    return LAYOUTS[layout](arm, filters, descriptors, weighting)
