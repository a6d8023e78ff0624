"""Batched helpers for augmentation that never synchronise with the device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


@lru_cache(maxsize=64)
def constant(values: tuple[object, ...], device: torch.device) -> Tensor:
    """A tensor of these values, copied to the device once."""
    return torch.tensor(values, device=device)


@lru_cache(maxsize=64)
def members(values: tuple[int, ...], device: torch.device) -> Tensor:
    """(256,) bool: which labels are among `values`."""
    table = torch.zeros(256, dtype=torch.bool)
    table[list(values)] = True
    return table.to(device)


def is_one_of(labels: Tensor, values: Sequence[int]) -> Tensor:
    """Where labels are among `values`."""
    return members(tuple(values), labels.device).take(labels.long())


def chance(count: int, share: float, device: torch.device) -> Tensor:
    """(count,) bool, True with this probability."""
    return torch.rand(count, device=device) < share


def mask_box(mask: Tensor) -> Tensor:
    """Masks (B, R, C) → (B, 2, 2) first and last + 1 of rows, and of columns; the full range if a mask is empty."""
    extents = []
    for axis in (2, 1):
        line = mask.any(axis)
        size = line.shape[1]
        places = torch.arange(size, device=mask.device)
        low = torch.where(line, places, size).amin(1)
        high = torch.where(line, places + 1, 0).amax(1)
        empty = high == 0
        extents.append(torch.stack([low.masked_fill(empty, 0), high.masked_fill(empty, size)], 1))
    return torch.stack(extents, 1).float()


def grid_lines(images: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (1, R, 1) and columns (1, 1, C) of images (B, R, C), counted from the middle."""
    _, rows, columns = images.shape
    y = torch.arange(rows, device=images.device).view(1, -1, 1) - rows / 2
    return y, torch.arange(columns, device=images.device).view(1, 1, -1) - columns / 2


def textured(images: Tensor, grain: int) -> Tensor:
    """Smooth random fields like images (B, R, C): mean 0, sd about 1 at every `grain`th cell."""
    count, rows, columns = images.shape
    coarse = torch.randn(count, 1, rows // grain + 1, columns // grain + 1, device=images.device)
    return F.interpolate(coarse, size=(rows, columns), mode="bilinear", align_corners=False)[:, 0]
