"""Spatial priors row by row: a volume of (N, H, W) float32 rows would not fit in memory (5 GB at 300 slices)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SpatialRows:
    """A (slices, N, H, W) float32 array whose rows are computed on access.

    compute(row) gives (N, H, W) for a row of the underlying volume. rows: the rows of this array, in order. columns:
    the descriptors kept of the `depth` that compute gives. pixels: (H, W) of this array, whose first pixel is at
    `corner` (y, x) of compute's. complete: whether p sums to 1 at every pixel; else it sums to at most 1, and the rest
    belongs to no descriptor.
    """

    compute: Callable[[int], NDArray[np.float32]]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    depth: int
    pixels: tuple[int, int]
    corner: tuple[int, int] = (0, 0)
    ndim: int = 4
    complete: bool = True

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(slices, N, H, W)."""
        return len(self.rows), len(self.columns), *self.pixels

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, key: int) -> NDArray[np.float32]: ...
    @overload
    def __getitem__(self, key: slice | Sequence[int]) -> SpatialRows: ...
    def __getitem__(self, key: int | slice | Sequence[int]) -> NDArray[np.float32] | SpatialRows:
        if isinstance(key, slice):
            return replace(self, rows=self.rows[key])
        if isinstance(key, Sequence):
            return replace(self, rows=tuple(self.rows[one] for one in key))
        (y, x), (high, wide) = self.corner, self.pixels
        p = self.compute(self.rows[int(key)])[:, y : y + high, x : x + wide]
        if self.columns == tuple(range(self.depth)):
            return p
        kept = p[list(self.columns)]
        if not self.complete:
            return kept
        total = kept.sum(axis=0, keepdims=True)
        return np.where(total > 0, kept / np.where(total > 0, total, 1), np.float32(1 / len(kept))).astype(np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.stack([self[row] for row in range(len(self))]).astype(dtype or np.float32, copy=False)

    def take_columns(self, columns: Sequence[int]) -> SpatialRows:
        """The same pixels with only these descriptors, scaled to sum to 1 if the prior is complete."""
        return replace(self, columns=tuple(self.columns[column] for column in columns))

    def cropped(self, y: slice, x: slice) -> SpatialRows:
        """Crop to these rows and columns, which must have a start and stop."""
        corner = self.corner[0] + y.start, self.corner[1] + x.start
        return replace(self, corner=corner, pixels=(y.stop - y.start, x.stop - x.start))

    def slice_means(self) -> NDArray[np.float32]:
        """(slices, N): the mean over each slice's pixels."""
        return np.stack([self[row].mean(axis=(1, 2)) for row in range(len(self))])
