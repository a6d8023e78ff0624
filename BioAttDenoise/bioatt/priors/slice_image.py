"""Resampling of a CT slice to the embedded prior's input: a fixed physical grid centred on the body, independent of the
scan's field of view, matrix and position."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

AIR_HU = -1000.0
RANGE_HU = (-1024.0, 2000.0)
GRID = 128
CELL_MM = 3.6
"""128 cells of 3.6 mm show 461 mm; small organs (pancreas, aorta) still cover several cells."""


def slice_image(
    hu: NDArray[np.float32], spacing: tuple[float, float], grid: int = GRID, cell_mm: float = CELL_MM
) -> NDArray[np.float32]:
    """Slice hu (y, x) with spacing (x, y) mm → (grid, grid) float32 HU, averaged over cells of cell_mm.

    The grid is centred on the tissue's centre of mass and filled with air outside the slice. Averaging over the cell's
    area reduces noise and makes the image equivariant to rotations by 90°.
    """
    shown = np.clip(hu, *RANGE_HU) - AIR_HU
    mass = np.clip(shown, 0, -AIR_HU) ** 2
    total = float(mass.sum(dtype=np.float64))
    weights = []
    for axis, step in ((0, spacing[1]), (1, spacing[0])):
        pixels = np.arange(shown.shape[axis])
        profile = mass.sum(axis=1 - axis, dtype=np.float64)
        centre = float(profile @ pixels) / total if total > 0 else (len(pixels) - 1) / 2
        weights.append(_cell_weights(len(pixels), step, centre, grid, cell_mm))
    return (weights[0] @ shown @ weights[1].T + np.float32(AIR_HU)).astype(np.float32)


def _cell_weights(pixels: int, step_mm: float, centre: float, grid: int, cell_mm: float) -> NDArray[np.float32]:
    """(grid, pixels) share of each cell that each pixel covers."""
    edges = (np.arange(grid + 1) - grid / 2) * cell_mm
    low, high = edges[:-1, None], edges[1:, None]
    left = (np.arange(pixels)[None, :] - centre - 0.5) * step_mm
    overlap = np.minimum(high, left + step_mm) - np.maximum(low, left)
    return (np.clip(overlap, 0, None) / cell_mm).astype(np.float32)
