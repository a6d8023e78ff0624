"""Voxel values: plausibility checks for HU, data types, and the standardisation for networks."""

from __future__ import annotations

import numpy as np

from bioatt.core.errors import InputError

AIR_HU = -1000.0
OFFSET_HU, SCALE_HU = -500.0, 500.0
"""Standardisation of the paper (§3.1): x = (HU − OFFSET_HU) / SCALE_HU."""
CLIP_HU = (-1024, 3071)
"""Range passed to networks, the usual 12 bits of CT. Voxels above it (metal) keep their exact value."""

PADDING_BELOW_HU, PADDING_ABOVE_HU = -1500.0, 30_720.0
"""Limits beyond which values are fillers. Air reaches -1024 before noise; scanners pad with -2000, -2048, -3024, ...
Metal reaches 30,710 on scanners that store tenfold steps."""
_LOW_SHARE, _HIGH_SHARE = 1e-3, 0.05
"""Share of a slice above which one exact value is a filler. Low: noise cannot reach it. At a distance d below its mean,
a Gaussian of any SD has at most 0.242 / d of its voxels on one whole HU, and air is 500 HU away: 0.05 %. High: metal
clipped to one value fills less."""
_STORED_AIR = 60.0
"""Largest distance of the commonest dark stored value from 24 (-1000 + 1024)."""
_ROUGH_HU, _ROUGHER, _MANY = 200.0, 8.0, 64
"""Signs of a wrong byte order: a mean difference between neighbours that no CT has, its ratio to that of the
byte-swapped image, and a number of distinct values in a slice that exceeds that of a synthetic phantom."""
_LEAST_WITHIN = 0.01
"""Smallest share of a CT's voxels within CLIP_HU."""


def cast(values: np.ndarray, dtype: np.dtype | str) -> np.ndarray:
    """Convert values to another type; rounded and clipped if it is an integer type."""
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


def fillers(plane: np.ndarray) -> np.ndarray:
    """Voxels (y, x) bool of a slice that hold fillers: one exact, implausible value over much of the slice.

    Low: below PADDING_BELOW_HU over 0.1 % of the slice; high: above PADDING_ABOVE_HU over 5 %.
    """
    mask = np.zeros(plane.shape, bool)
    ends = ((plane < PADDING_BELOW_HU, _LOW_SHARE), (plane > PADDING_ABOVE_HU, _HIGH_SHARE))
    for beyond, share in ends:
        found = plane[beyond]
        values, counts = np.unique(found, return_counts=True)
        mask[beyond] |= np.isin(found, values[counts >= share * plane.size])
    return mask


def touching(plane: np.ndarray, mask: np.ndarray) -> None:
    """Extend a slice's padding mask (y, x) to the low voxels that touch it; resampling blends the rim of a filler."""
    low = plane < PADDING_BELOW_HU
    if (mask & low).any() and (low & ~mask).any():
        from scipy.ndimage import binary_propagation

        mask |= binary_propagation(mask & low, structure=np.ones((3, 3)), mask=low)


def check_hu(hu: np.ndarray) -> tuple[str, ...]:
    """Raise InputError for voxels that cannot be a CT in HU; return warnings about unusual ones.

    hu: (z, y, x), any real type. Fillers outside the field of view (`fillers`) are ignored.
    """
    if hu.dtype.kind == "f" and not np.isfinite(hu).all():
        bad = int(hu.size - np.isfinite(hu).sum())
        raise InputError(f"{bad} of {hu.size} voxels are NaN or infinite: replace them (air is -1000 HU) and try again")
    stats = _Statistics(hu)
    low, high = stats.low, stats.high
    span = f"the values run from {low:g} to {high:g}"
    if not stats.count or low == high:
        return (f"every voxel is {float(hu.flat[0]) if not stats.count else low:g} HU: the volume is empty",)
    if _wrong_byte_order(hu):
        raise InputError(f"{span} and neighbours are unrelated: the byte order in the header is wrong, correct it")
    if low < -50_000 or high > 100_000:
        raise InputError(f"{span}, which is not HU: rescale the file to HU (air -1000, water 0)")
    if low >= -10 and high <= 10:
        raise InputError(f"{span}: a normalised image, map or mask, not HU; give the CT itself (air -1000, water 0)")
    if low >= 0 and 200 <= high <= 255:
        raise InputError(f"{span}: a windowed 8-bit image, not HU; give the CT itself (air -1000, water 0)")
    if low >= 0 and high >= 1000 and stats.water > min(0.1 * stats.count, 0.5 * stats.bright):
        if stats.air is None or abs(stats.air - 24) <= _STORED_AIR:
            reason = "stored values without their rescale; add the intercept (mostly -1024) and try again"
        else:
            reason = f"grey values on the scanner's own scale (air about {stats.air:.0f}), not HU; calibrate them first"
        raise InputError(f"{span}: {reason}")
    if stats.within < _LEAST_WITHIN * stats.count:
        raise InputError(
            f"{span}: nothing lies in the HU range ({CLIP_HU[0]} to {CLIP_HU[1]}); calibrate the values to HU first"
        )
    if low > -200:
        return (f"{span}: no air in the volume; check that it is a CT in HU",)
    return ()


class _Statistics:
    """Statistics of a volume's voxels without fillers.

    low, high, count: of all voxels. within: number in CLIP_HU. water: number in 900 to 1200, the range of water in
    stored values without rescale. bright: number above 300, the range of the body in such values. air: the commonest
    value below 500, None if none is common.
    """

    def __init__(self, hu: np.ndarray) -> None:
        self.low, self.high = np.inf, -np.inf
        self.count = self.within = self.water = self.bright = 0
        dark = np.zeros(50, int)
        for plane in hu:
            values = plane
            if plane.min() < PADDING_BELOW_HU or plane.max() > PADDING_ABOVE_HU:
                values = plane[~fillers(plane)]
            if not values.size:
                continue
            self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
            self.count += values.size
            self.within += int(np.count_nonzero((values >= CLIP_HU[0]) & (values <= CLIP_HU[1])))
            if self.low >= 0:
                self.water += int(np.count_nonzero((values > 900) & (values < 1200)))
                self.bright += int(np.count_nonzero(values > 300))
                dark += np.histogram(values, bins=dark.size, range=(0, 500))[0]
        self.air = 10.0 * int(dark.argmax()) + 5 if dark.max() > 0.05 * self.count else None


def _wrong_byte_order(hu: np.ndarray) -> bool:
    """Whether 16-bit voxels look like noise as stored but like an image after swapping bytes."""
    if hu.dtype.kind not in "iu":
        return False
    kind = np.int16 if hu.max() < 1 << 15 else np.uint16
    if hu.min() < np.iinfo(kind).min or hu.max() > np.iinfo(kind).max:
        return False
    plane = hu[len(hu) // 2].astype(kind)
    rough = _roughness(plane)
    return rough > max(_ROUGH_HU, _ROUGHER * _roughness(plane.byteswap())) and len(np.unique(plane)) > _MANY


def _roughness(plane: np.ndarray) -> float:
    """Mean absolute difference between neighbours along a row."""
    return float(np.abs(np.diff(plane.astype(np.float64), axis=1)).mean()) if plane.shape[1] > 1 else 0.0
