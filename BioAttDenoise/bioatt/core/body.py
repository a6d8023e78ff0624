"""Body mask of an axial slice: air is not denoised, and the transition to it is feathered to leave no seam."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

ROOM_AIR_BELOW_HU = -930.0
"""Between air (-1000) and lung (about -850), so that a lung truncated by the field of view is no room air."""
SMOOTHING_PX = 9
MARGIN_PX = 8
FEATHER_PX = 16


def body_mask(hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Body with lungs and bowel gas in an axial slice hu (y, x): everything but air connected to the image border.

    The slice is smoothed first, so that noise in low-dose air is not taken for body; components smaller than 1 % of the
    largest are left out.
    """
    air = ndimage.uniform_filter(hu, SMOOTHING_PX, mode="nearest") < ROOM_AIR_BELOW_HU
    regions, _ = ndimage.label(air)
    border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    room = np.isin(regions, border[border > 0])
    parts, count = ndimage.label(~room)
    if not count:
        return parts > 0
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return (sizes >= 0.01 * sizes.max())[parts]


def body_weight(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weight of the denoised value, (y, x) float32: 1 in the body and 8 px around it, falling to 0 over 16 px."""
    mask = body_mask(hu)
    if not mask.any():
        return np.zeros(hu.shape, np.float32)
    distance = ndimage.distance_transform_edt(~mask)
    return np.clip((MARGIN_PX + FEATHER_PX - distance) / FEATHER_PX, 0, 1).astype(np.float32)
