"""What an adversary can spoil without a loss showing it: HU of tissues, and structures. On batches, with torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from bioatt.core.hu import OFFSET_HU, SCALE_HU
from bioatt.core.metrics import TISSUES

MEAN_PX = 5
STRUCTURE_PX = 9
"""Side of the squares whose means `structure_error` compares: about 7 mm."""


def column(tissue: str) -> str:
    """Name in metrics.csv of a tissue's bias."""
    return f"val_bias_{tissue.replace(' ', '_')}_hu"


def tissue_errors(output: Tensor, target: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Sum of output − target in HU, and number of pixels, by tissue; standardised (B, 1, H, W).

    As `bioatt.core.metrics.hu_bias`: a pixel belongs to a tissue where the target's 5×5 mean stays in the tissue's
    range over 5×5 pixels, all of them inside the patch.
    """
    edge = 2 * (MEAN_PX // 2)
    error = ((output - target) * SCALE_HU)[..., edge:-edge, edge:-edge].double()
    mean = functional.avg_pool2d(target, MEAN_PX, stride=1) * SCALE_HU + OFFSET_HU
    found = {}
    for name, (low, high) in TISSUES.items():
        outside = ((mean < low) | (mean >= high)).float()
        inside = functional.max_pool2d(outside, MEAN_PX, stride=1) == 0
        found[name] = ((error * inside).sum(), inside.sum().double())
    return found


def structure_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error in HU² of the means over squares of `STRUCTURE_PX`; standardised (B, 1, H, W).

    Noise averages out of such means; what was removed or invented does not.
    """
    error = functional.avg_pool2d(output - target, STRUCTURE_PX, stride=1) * SCALE_HU
    return torch.mean(error**2)
