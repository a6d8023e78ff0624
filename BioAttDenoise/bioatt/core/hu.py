"""Voxel values: which numbers can be HU, their types, and the scale on which networks see them."""

from __future__ import annotations

import numpy as np

from bioatt.core.errors import InputError

AIR_HU = -1000.0
OFFSET_HU, SCALE_HU = -500.0, 500.0
"""Standardisation of the paper (§3.1): x = (HU − OFFSET_HU) / SCALE_HU."""
CLIP_HU = (-1024, 3071)
"""Range that networks see, CT's usual 12 bits. Voxels above it (metal) keep their value exactly."""

PADDING_BELOW_HU, PADDING_ABOVE_HU = -1500.0, 30_720.0
"""Air reaches -1024, noise spreads it; scanners pad with -2000, -2048, -3024, ... Metal reaches 30,710 where a scanner
stores tenfold steps."""
_LOW_SHARE, _HIGH_SHARE = 1e-3, 0.05
"""Shares of a slice from which one exact value is a filler. Low: noise cannot reach it, a Gaussian d below its mean has
at most 0.242 / d of its voxels on one whole HU, whatever its SD, and air is 500 HU away: 0.05 %. High: metal that is
clipped to one value fills less."""
_STORED_AIR = 60.0
"""How far from 24 (-1000 + 1024) the commonest dark value of stored numbers may lie."""
_ROUGH_HU, _ROUGHER, _MANY = 200.0, 8.0, 64
"""Mean difference of neighbours that no CT has; how many times that of the image it is when bytes are swapped; values
in a slice, of which a drawn phantom has fewer."""
_LEAST_WITHIN = 0.01
"""Share of a CT's voxels that lies in CLIP_HU."""


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


def fillers(plane: np.ndarray) -> np.ndarray:
    """(y, x) bool: the voxels of a slice that hold one exact, impossible value over much of it, at either end.

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
    """Add to a slice's mask of padding (y, x) the low voxels that touch it: resampling blends a filler's rim."""
    low = plane < PADDING_BELOW_HU
    if (mask & low).any() and (low & ~mask).any():
        from scipy.ndimage import binary_propagation

        mask |= binary_propagation(mask & low, structure=np.ones((3, 3)), mask=low)


def check_hu(hu: np.ndarray) -> tuple[str, ...]:
    """Refuse voxels that cannot be a CT in HU (InputError says how to mend them); return warnings about odd ones.

    hu: (z, y, x), any real type. Fillers outside the field of view (`fillers`) are left out of the judgement.
    """
    if hu.dtype.kind == "f" and not np.isfinite(hu).all():
        bad = int(hu.size - np.isfinite(hu).sum())
        raise InputError(f"{bad} of {hu.size} voxels are NaN or infinite: replace them (air is -1000 HU) and try again")
    seen = _Seen(hu)
    low, high = seen.low, seen.high
    span = f"the values run from {low:g} to {high:g}"
    if not seen.count or low == high:
        return (f"every voxel is {float(hu.flat[0]) if not seen.count else low:g} HU: the volume is empty",)
    if _wrong_byte_order(hu):
        raise InputError(
            f"{span} without any likeness of neighbours: the byte order in the header is wrong, correct it"
        )
    if low < -50_000 or high > 100_000:
        raise InputError(f"{span}, which is no HU: rescale the file to HU (air -1000, water 0)")
    if low >= -10 and high <= 10:
        raise InputError(f"{span}: a normalised image, a map or a mask, no HU; give the CT itself (air -1000, water 0)")
    if low >= 0 and 200 <= high <= 255:
        raise InputError(f"{span}: a windowed 8-bit image, no HU; give the CT itself (air -1000, water 0)")
    if low >= 0 and high >= 1000 and seen.water > min(0.1 * seen.count, 0.5 * seen.bright):
        if seen.air is None or abs(seen.air - 24) <= _STORED_AIR:
            said = "stored numbers without their rescale; add the intercept (mostly -1024) and try again"
        else:
            said = f"grey values of the scanner's own scale (air about {seen.air:.0f}), no HU; calibrate them first"
        raise InputError(f"{span}: {said}")
    if seen.within < _LEAST_WITHIN * seen.count:
        raise InputError(
            f"{span}: nothing lies in the range of HU ({CLIP_HU[0]} to {CLIP_HU[1]}); calibrate it to HU first"
        )
    if low > -200:
        return (f"{span}: no air in the volume; check that it is a CT in HU",)
    return ()


class _Seen:
    """What a volume's voxels tell, fillers left out.

    low, high, count: of all; within: how many lie in CLIP_HU; water: how many in 900 to 1200, where stored numbers have
    water; bright: how many above 300, where stored numbers have the body; air: the commonest value below 500, None
    where none is common.
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
    """Whether 16-bit voxels make an image when their bytes are swapped, and noise as they are."""
    if hu.dtype.kind not in "iu":
        return False
    kind = np.int16 if hu.max() < 1 << 15 else np.uint16
    if hu.min() < np.iinfo(kind).min or hu.max() > np.iinfo(kind).max:
        return False
    plane = hu[len(hu) // 2].astype(kind)
    rough = _roughness(plane)
    return rough > max(_ROUGH_HU, _ROUGHER * _roughness(plane.byteswap())) and len(np.unique(plane)) > _MANY


def _roughness(plane: np.ndarray) -> float:
    """Mean difference of neighbours along a row."""
    return float(np.abs(np.diff(plane.astype(np.float64), axis=1)).mean()) if plane.shape[1] > 1 else 0.0
