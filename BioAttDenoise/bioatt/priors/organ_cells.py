"""Cells for the organ-map network: a slice averaged over squares of about 3.3 mm, and the location of its body."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from bioatt.network.organ_maps import BLOCK

AIR_HU = -1000.0
RANGE_HU = (-1024.0, 2000.0)
CELL_MM = 3.3
BODY_ABOVE_HU = -500.0
MARGIN_CELLS = 2
WINDOW_CELLS = (112, 144)
"""Minimum rows and columns of the network's input: in training, most bodies were surrounded by air."""


def to_cells(hu: NDArray[np.float32], spacing: tuple[float, float], cell_mm: float = CELL_MM) -> NDArray[np.float32]:
    """Average a slice hu (y, x) with spacing (x, y) mm over the cells (rows, columns) that cover it exactly.

    The cell size is as close to cell_mm as a whole number of cells allows.
    """
    down = _shares(hu.shape[0], cell_count(hu.shape[0], spacing[1], cell_mm))
    across = _shares(hu.shape[1], cell_count(hu.shape[1], spacing[0], cell_mm))
    shown = torch.from_numpy(np.ascontiguousarray(hu, np.float32)).clamp(*RANGE_HU)
    cells: NDArray[np.float32] = (down @ (shown @ across.T)).numpy()
    return cells


def cell_count(pixels: int, step_mm: float, cell_mm: float = CELL_MM) -> int:
    """Number of cells along an axis of this many pixels."""
    return max(1, round(pixels * step_mm / cell_mm))


def body_box(cells: NDArray[np.float32]) -> tuple[slice, slice]:
    """Rows and columns of the largest component of the slice denser than air; all of them if there is none."""
    parts, count = ndimage.label(cells > BODY_ABOVE_HU)
    if count == 0:
        return slice(0, cells.shape[0]), slice(0, cells.shape[1])
    boxes = ndimage.find_objects(parts)
    rows, columns = boxes[int(np.bincount(parts.ravel())[1:].argmax())]
    return rows, columns


def coordinates(box: tuple[slice, slice], shape: tuple[int, int]) -> NDArray[np.float32]:
    """x and y (2, rows, columns) of each cell's centre: -1 and 1 at the edges of the box, clipped at ±1.5."""
    lines = []
    for extent, count in zip(box, shape, strict=True):
        middle, half = (extent.start + extent.stop) / 2, max((extent.stop - extent.start) / 2, 1.0)
        lines.append(np.clip((np.arange(count) + 0.5 - middle) / half, -1.5, 1.5).astype(np.float32))
    y, x = np.meshgrid(*lines, indexing="ij")
    return np.stack([x, y])


def window_of(box: tuple[slice, slice]) -> tuple[slice, slice]:
    """The box with a margin, widened to WINDOW_CELLS or, if larger, to a multiple of the network's block.

    It may extend beyond the slice.
    """
    rows, columns = (_widened(extent, least) for extent, least in zip(box, WINDOW_CELLS, strict=True))
    return rows, columns


def _widened(extent: slice, least: int) -> slice:
    length = max(extent.stop - extent.start + 2 * MARGIN_CELLS, least)
    length += -length % BLOCK
    start = (extent.start + extent.stop - length) // 2
    return slice(start, start + length)


def on_pixels(
    p: NDArray[np.float32], place: tuple[slice, slice], cells: tuple[int, int], pixels: tuple[int, int]
) -> tuple[NDArray[np.float32], tuple[slice, slice]]:
    """Interpolate part p of a map on `cells` (rows, columns), which is 0 elsewhere, to `pixels`.

    Bilinear between the cells' centres. Returns the values and the rows and columns they cover.
    """
    down, across = (
        _interpolation(cells, pixels)[:, extent] for cells, pixels, extent in zip(cells, pixels, place, strict=True)
    )
    there = tuple(
        slice(max(0, int((extent.start - 0.5) * step - 0.5)), min(pixels, int(np.ceil((extent.stop + 0.5) * step))))
        for extent, pixels, step in zip(place, pixels, np.divide(pixels, cells), strict=True)
    )
    fine: NDArray[np.float32] = (down[there[0]] @ torch.from_numpy(p) @ across[there[1]].T).numpy()
    return fine, (there[0], there[1])


@lru_cache(maxsize=16)
def _shares(pixels: int, cells: int) -> Tensor:
    """Matrix (cells, pixels): the share of each cell that each pixel covers."""
    edges = np.linspace(0, pixels, cells + 1)
    left = np.arange(pixels)
    overlap = np.minimum(edges[1:, None], left + 1) - np.maximum(edges[:-1, None], left)
    return torch.from_numpy((np.clip(overlap, 0, None) * (cells / pixels)).astype(np.float32))


@lru_cache(maxsize=16)
def _interpolation(cells: int, pixels: int) -> Tensor:
    """Matrix (pixels, cells): linear interpolation between the cells' centres, constant beyond the outermost."""
    place = np.clip((np.arange(pixels) + 0.5) * (cells / pixels) - 0.5, 0, cells - 1)
    weights = np.clip(1 - np.abs(place[:, None] - np.arange(cells)), 0, 1)
    return torch.from_numpy(weights.astype(np.float32))
