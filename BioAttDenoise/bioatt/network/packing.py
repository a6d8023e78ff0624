"""Weights stored as int8 with a scale for each output channel: half the size of float16."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ".scale"
"""Ends the name of the scales of a tensor stored as int8."""


def packed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of two and more dimensions as int8 and, under their name and SCALE, float32 scales of their rows.

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
    """The inverse of `packed`, in float32; other weights keep their type. Raises KeyError if scales are missing."""
    return {
        name: value * stored[name + SCALE] if value.dtype == torch.int8 else value
        for name, value in stored.items()
        if not name.endswith(SCALE)
    }
