"""Where the patient is in an axial slice: the network need not see air, and must not leave a seam where it stops."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

AIR_TO_BODY_HU = -500.0
MARGIN_PX = 8
FEATHER_PX = 16


def body_mask(hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Patient, with lungs and bowel gas, in one axial slice hu (y, x), without specks under 1 % of it.

    Smoothing first keeps the noise of a low-dose scan from opening the contour.
    """
    inside = ndimage.uniform_filter(hu, 5, mode="nearest") > AIR_TO_BODY_HU
    parts, count = ndimage.label(inside)
    if not count:
        return inside
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return ndimage.binary_fill_holes((sizes >= 0.01 * sizes.max())[parts])


def body_weight(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Share of the denoised value to take at each pixel: 1 in the body and 8 px around it, falling to 0 over 16 px."""
    mask = body_mask(hu)
    if not mask.any():
        return np.zeros(hu.shape, np.float32)
    distance = ndimage.distance_transform_edt(~mask)
    return np.clip((MARGIN_PX + FEATHER_PX - distance) / FEATHER_PX, 0, 1).astype(np.float32)
