"""Distances between the features of two images: pointwise, by local statistics, and by Gram matrices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from bioatt_training.adversarial.features import Levels

DistanceName = Literal["pointwise", "statistics", "gram"]
STATISTICS_PX = 4
"""Side of the squares for local statistics, in pixels of a level; a smaller level is one square."""
_LEAST = 1e-6


def pointwise(output: Levels, target: Levels) -> Tensor:
    """Mean over levels of the squared difference of unit feature vectors, summed over channels, averaged over
    positions.

    LPIPS (Zhang 2018, arXiv 1801.03924) with all linear weights 1.
    """
    return _mean(((_unit(a) - _unit(b)) ** 2).sum(dim=1).mean() for a, b in zip(output, target, strict=True))


def statistics(output: Levels, target: Levels) -> Tensor:
    """Mean over levels of the absolute difference of local means and standard deviations of each channel.

    Uses non-overlapping squares of `STATISTICS_PX`; each level of an image is scaled by the target's mean absolute
    feature. Texture has to match statistically rather than pixel by pixel, which noise cannot.
    """
    return _mean(_level_statistics(a, b) for a, b in zip(output, target, strict=True))


def gram(output: Levels, target: Levels) -> Tensor:
    """Mean over levels of the squared difference of Gram matrices of unit feature vectors (Gatys 2016).

    A Gram matrix is the mean over positions of the products of two channels.
    """
    return _mean(((_gram(a) - _gram(b)) ** 2).sum(dim=(1, 2)).mean() for a, b in zip(output, target, strict=True))


DISTANCES: Mapping[DistanceName, Callable[[Levels, Levels], Tensor]] = {
    "pointwise": pointwise,
    "statistics": statistics,
    "gram": gram,
}


def _level_statistics(a: Tensor, b: Tensor) -> Tensor:
    scale = b.abs().mean(dim=(1, 2, 3), keepdim=True).clamp_min(_LEAST)
    (mean_a, sd_a), (mean_b, sd_b) = _moments(a / scale), _moments(b / scale)
    return (mean_a - mean_b).abs().mean() + (sd_a - sd_b).abs().mean()


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    side = min(STATISTICS_PX, x.shape[-2], x.shape[-1])
    mean = functional.avg_pool2d(x, side)
    variance = functional.avg_pool2d(x * x, side) - mean * mean
    return mean, (variance.clamp_min(0) + _LEAST).sqrt()


def _gram(x: Tensor) -> Tensor:
    flat = _unit(x).flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[-1]


def _unit(x: Tensor) -> Tensor:
    return functional.normalize(x, dim=1, eps=_LEAST)


def _mean(values: object) -> Tensor:
    return torch.stack(list(values)).mean()  # type: ignore[call-overload]
