"""Local means at every third pixel and their interpolation; they vary slowly enough for a ninth of the pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

STEP = 3


def block_means(image: NDArray, blocks: int) -> NDArray[np.float32]:
    """Means over (STEP · blocks)² pixels around every STEP-th pixel, starting at the centre of the first block.

    blocks: odd. image (y, x) → (⌈y / STEP⌉, ⌈x / STEP⌉) float32; the border is padded with the edge pixels.
    """
    excess = [(0, -length % STEP) for length in image.shape]
    whole = np.pad(image, excess, mode="edge") if any(after for _, after in excess) else image
    rows = whole[0::STEP] + whole[1::STEP] + whole[2::STEP]
    sums = rows[:, 0::STEP] + rows[:, 1::STEP] + rows[:, 2::STEP]
    return uniform_filter(sums.astype(np.float32), blocks, mode="nearest") / np.float32(STEP**2)


def on_pixels(values: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Interpolate values at every STEP-th pixel, as placed by `block_means`, linearly to all pixels (y, x)."""
    for axis, length in enumerate(shape):
        place = np.clip((np.arange(length) - STEP // 2) / STEP, 0, values.shape[axis] - 1)
        first = place.astype(int)
        share = (place - first).astype(np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
        low = values.take(first, axis)
        high = values.take(np.minimum(first + 1, values.shape[axis] - 1), axis)
        values = low + share * (high - low)
    return values
