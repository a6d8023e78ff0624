"""Storage of weights as int8 with one scale per output channel: half the size of float16."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ".scale"
"""Suffix of the name under which the scales of an int8 tensor are stored."""


def packed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert tensors of two or more dimensions to int8, and store float32 scales of their rows under name + SCALE.

    The error is at most 1/254 of a row's largest value.
    """
    stored = dict(weights)
    for name, value in weights.items():
        if value.ndim > 1:
            rows = value.float()
            scale = rows.abs().amax(dim=tuple(range(1, rows.ndim)), keepdim=True).clamp_min(1e-12) / 127
            stored[name], stored[name + SCALE] = torch.round(rows / scale).to(torch.int8), scale
    return stored


def unpacked(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Invert `packed`, to float32; other weights keep their type. Raises KeyError if scales are missing."""
    return {
        name: value * stored[name + SCALE] if value.dtype == torch.int8 else value
        for name, value in stored.items()
        if not name.endswith(SCALE)
    }
