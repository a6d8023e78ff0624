"""Where the patient is in an axial slice: the network need not see air, and must not leave a seam where it stops."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

ROOM_AIR_BELOW_HU = -930.0
"""Between air (-1000) and lung (about -850): a lung that the field of view cuts open is no room air."""
SMOOTHING_PX = 9
MARGIN_PX = 8
FEATHER_PX = 16


def body_mask(hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Patient, with lungs and bowel gas, in one axial slice hu (y, x): all but the room air that reaches the border.

    Smoothing first keeps the noise of a low-dose scan from being taken for the body; specks under 1 % of the largest
    part are left out.
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
    """Share of the denoised value to take at each pixel: 1 in the body and 8 px around it, falling to 0 over 16 px."""
    mask = body_mask(hu)
    if not mask.any():
        return np.zeros(hu.shape, np.float32)
    distance = ndimage.distance_transform_edt(~mask)
    return np.clip((MARGIN_PX + FEATHER_PX - distance) / FEATHER_PX, 0, 1).astype(np.float32)
