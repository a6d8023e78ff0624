"""Local means at every third pixel of a slice, and back: they vary so slowly that a ninth of the pixels shows them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

STEP = 3


def block_means(image: NDArray, blocks: int) -> NDArray[np.float32]:
    """Means over (STEP · blocks)² pixels, blocks odd, around every STEP-th pixel, the middle of its block first.

    image (y, x) → (⌈y / STEP⌉, ⌈x / STEP⌉) float32; beyond the border the outermost pixels go on.
    """
    excess = [(0, -length % STEP) for length in image.shape]
    whole = np.pad(image, excess, mode="edge") if any(after for _, after in excess) else image
    rows = whole[0::STEP] + whole[1::STEP] + whole[2::STEP]
    sums = rows[:, 0::STEP] + rows[:, 1::STEP] + rows[:, 2::STEP]
    return uniform_filter(sums.astype(np.float32), blocks, mode="nearest") / np.float32(STEP**2)


def on_pixels(values: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Values at every STEP-th pixel, as `block_means` places them → (y, x), linear between them."""
    for axis, length in enumerate(shape):
        place = np.clip((np.arange(length) - STEP // 2) / STEP, 0, values.shape[axis] - 1)
        first = place.astype(int)
        share = (place - first).astype(np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
        low = values.take(first, axis)
        high = values.take(np.minimum(first + 1, values.shape[axis] - 1), axis)
        values = low + share * (high - low)
    return values
