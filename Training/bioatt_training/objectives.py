"""Losses between a denoised and a target patch, on pixels that have seen their whole neighbourhood."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(output, target, low) (B, 1, H, W) → scalar."""


def interior(patch: Tensor, margin: int) -> Tensor:
    """The patch (…, H, W) without `margin` pixels on each side, where the network lacks context."""
    return patch[..., margin : patch.shape[-2] - margin, margin : patch.shape[-1] - margin]


def mse(output: Tensor, target: Tensor, low: Tensor) -> Tensor:
    """Mean squared error, the paper's loss. Patches with much noise outweigh those with little by its square."""
    return torch.mean((output - target) ** 2)


def relative_mse(output: Tensor, target: Tensor, low: Tensor, floor: float = 4e-3) -> Tensor:
    """Squared error of each patch as a share of its input's, so that scans of little noise count as much as others.

    floor: root mean square error (2 HU) below which the input counts as clean.
    """
    error, before = (torch.mean((image - target) ** 2, dim=(1, 2, 3)) for image in (output, low))
    return torch.mean(error / (before + floor**2))


def faithful(output: Tensor, target: Tensor, low: Tensor, block: int = 8, weight: float = 16.0) -> Tensor:
    """`relative_mse`, and `weight` times the same of means over `block` × `block` pixels, which carry the HU values.

    A pixel's noise hides a wrong mean of a few HU; the noise of a block's mean hides it `block` times less.
    """
    pooled = torch.nn.functional.avg_pool2d(output - target, block)
    before = torch.mean((low - target) ** 2, dim=(1, 2, 3))
    return relative_mse(output, target, low) + weight * torch.mean(
        torch.mean(pooled**2, dim=(1, 2, 3)) / (before + 4e-3**2)
    )


def charbonnier(output: Tensor, target: Tensor, low: Tensor, epsilon: float = 0.01) -> Tensor:
    """Mean of √(d² + ε²) (Charbonnier 1994): squared for small differences, linear for large ones. ε = 5 HU."""
    return torch.mean(torch.sqrt((output - target) ** 2 + epsilon**2))


LOSSES: dict[str, Loss] = {"mse": mse, "relative_mse": relative_mse, "faithful": faithful, "charbonnier": charbonnier}
