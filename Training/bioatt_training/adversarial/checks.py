"""Checks for damage that an adversarial loss does not reveal: HU of tissues, and structures. On batches, with torch."""

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
    """Column of a tissue's bias in metrics.csv."""
    return f"val_bias_{tissue.replace(' ', '_')}_hu"


def tissue_errors(output: Tensor, target: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Sum of output − target in HU, and number of pixels, by tissue; standardised (B, 1, H, W).

    As in `bioatt.core.metrics.hu_bias`, a pixel belongs to a tissue if the target's 5×5 mean stays within the tissue's
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

    Noise averages out of such means; removed or invented structures do not.
    """
    error = functional.avg_pool2d(output - target, STRUCTURE_PX, stride=1) * SCALE_HU
    return torch.mean(error**2)
