"""Voxel values: which numbers can be HU, their types, and the scale on which networks see them."""

from __future__ import annotations

import numpy as np

from bioatt.core.errors import InputError

AIR_HU = -1000.0
OFFSET_HU, SCALE_HU = -500.0, 500.0
"""Standardisation of the paper (§3.1): x = (HU − OFFSET_HU) / SCALE_HU."""
CLIP_HU = (-1024, 3071)
"""Range that networks see, CT's usual 12 bits. Voxels above it (metal) keep their value exactly."""


def cast(values: np.ndarray, dtype: np.dtype | str) -> np.ndarray:
    """Values in another type: rounded and clipped where that is an integer type."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f" or values.dtype == dtype:
        return values.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    if values.dtype.kind == "f":
        values = np.rint(values.astype(np.float64) if dtype.itemsize > 2 else values)
    return np.clip(values, limits.min, limits.max).astype(dtype)


def working_type(dtype: np.dtype) -> np.dtype:
    if dtype.kind == "f":
        return np.dtype(np.float32)
    return np.dtype(np.int16 if np.can_cast(dtype, np.int16) else np.int32)


def check_hu(hu: np.ndarray) -> tuple[str, ...]:
    """Refuse voxels that cannot be a CT in HU (InputError says how to mend them); return warnings about odd ones.

    hu: (z, y, x), any real type.
    """
    if hu.dtype.kind == "f" and not np.isfinite(hu).all():
        bad = int(hu.size - np.isfinite(hu).sum())
        raise InputError(f"{bad} of {hu.size} voxels are NaN or infinite: replace them (air is -1000 HU) and try again")
    low, high = float(hu.min()), float(hu.max())
    span = f"the values run from {low:g} to {high:g}"
    if low == high:
        return (f"every voxel is {low:g} HU: the volume is empty",)
    if low < -50_000 or high > 100_000:
        raise InputError(f"{span}, which is no HU: rescale the file to HU (air -1000, water 0)")
    if low >= -10 and high <= 10:
        raise InputError(f"{span}: a normalised image, a map or a mask, no HU; give the CT itself (air -1000, water 0)")
    if low >= 0 and 200 <= high <= 255:
        raise InputError(f"{span}: a windowed 8-bit image, no HU; give the CT itself (air -1000, water 0)")
    if low >= 0 and high >= 1000 and np.count_nonzero((hu > 900) & (hu < 1200)) > 0.1 * hu.size:
        raise InputError(
            f"{span}: stored numbers without their rescale; add the intercept (mostly -1024) and try again"
        )
    if low > -200:
        return (f"{span}: no air in the volume; check that it is a CT in HU",)
    return ()
