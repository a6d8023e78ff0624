"""Losses between a denoised and a target patch, on pixels that have seen their whole neighbourhood."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def interior(patch: Tensor, margin: int) -> Tensor:
    """The patch (…, H, W) without `margin` pixels on each side, where the network lacks context."""
    return patch[..., margin : patch.shape[-2] - margin, margin : patch.shape[-1] - margin]


def mse(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error, the paper's loss."""
    return torch.mean((output - target) ** 2)


def charbonnier(output: Tensor, target: Tensor, epsilon: float = 0.01) -> Tensor:
    """Mean of √(d² + ε²) (Charbonnier 1994): squared for small differences, linear for large ones. ε = 5 HU."""
    return torch.mean(torch.sqrt((output - target) ** 2 + epsilon**2))


LOSSES: dict[str, Loss] = {"mse": mse, "charbonnier": charbonnier}
