"""What a network sees of a slice: its HU, and some its neighbours, how near they are, and the noise level."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from bioatt.core.hu import CLIP_HU, OFFSET_HU, SCALE_HU
from bioatt.inference.context import Context
from bioatt.network.slab_unet import NOISE_UNIT_HU, nearness

REACH_MM = 4.0
"""Neighbours farther away are not shown."""
_TOLERANCE_MM = 1e-3


def clipped(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """HU within the range that networks see."""
    return np.clip(hu, *CLIP_HU)


def planes(context: Context, k: int, neighbours: int, noise_hu: float) -> NDArray[np.float32]:
    """Planes (C, y, x) of slice k of the context's box, as `BioAttNetwork.forward` takes them.

    neighbours: of the network, half of them below and half above; at the ends of the volume, beyond REACH_MM, and in a
    volume whose slices are missing or unevenly spaced there are none. noise_hu: noise level, NaN where it is not known.
    """
    image = _standardised(context.hu[k])
    if not neighbours:
        return image[None]
    side = neighbours // 2
    seen = np.zeros((2 + 2 * neighbours, *image.shape), np.float32)
    seen[0], seen[1 + neighbours] = image, np.nan_to_num(noise_hu) / NOISE_UNIT_HU
    for column, offset in enumerate([*range(-side, 0), *range(1, side + 1)]):
        distance_mm = abs(offset) * context.step_mm
        neighbour = context.neighbour(k, offset) if distance_mm <= REACH_MM + _TOLERANCE_MM else None
        if neighbour is not None:
            seen[1 + column] = _standardised(neighbour)
            seen[2 + neighbours + column] = float(nearness(torch.tensor(distance_mm)))
    return seen


def _standardised(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    return (clipped(hu) - OFFSET_HU) / SCALE_HU
