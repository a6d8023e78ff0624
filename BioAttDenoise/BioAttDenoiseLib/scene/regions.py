"""The voxels to denoise: a range of axial slices with neighbours for the prior, optionally limited to a box.

Arrays are (k, j, i), as in MRML.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from slicer.i18n import tr as _

PRIOR_CONTEXT = 4
"""Neighbouring slices on either side that the prior uses (as `bioatt.core.noise.CONTEXT_SLICES`), so that a single
slice gets the same prior as in its volume.
"""


def axial_axis(ijk_to_ras: np.ndarray) -> int:
    """Array axis (0 = k, 1 = j, 2 = i) along which axial slices are stacked."""
    directions = np.abs(ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0))
    best = max(itertools.permutations(range(3)), key=lambda axes: sum(directions[w, a] for w, a in enumerate(axes)))
    return 2 - best[2]


@dataclass(frozen=True)
class Region:
    """Slices `start … stop-1` along array axis `axis`; `box` limits the change to a box of the whole array (one slice
    object per axis).
    """

    axis: int
    start: int
    stop: int
    count: int
    box: tuple[slice, ...] | None = None

    @property
    def whole(self) -> bool:
        """Whether every voxel is denoised."""
        return self.box is None and (self.start, self.stop) == (0, self.count)

    @property
    def context(self) -> tuple[int, int]:
        """The slices to send: the requested ones and their neighbours."""
        return max(self.start - PRIOR_CONTEXT, 0), min(self.stop + PRIOR_CONTEXT, self.count)

    def part(self, first: int, last: int) -> tuple[slice, ...]:
        """Index of slices first … last-1 of the whole array."""
        index = [slice(None)] * 3
        index[self.axis] = slice(first, last)
        return tuple(index)

    def fields(
        self, array: np.ndarray, ijk_to_ras: np.ndarray, everything: bool = False
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """The voxels to send (a copy), with the geometry and slices of the request. everything: send the whole array,
        whose noise defines the strength levels.
        """
        first, last = (0, self.count) if everything else self.context
        axis = self.axis
        if self.turned:
            axis, (array, ijk_to_ras) = 0, self.axial_first(array, ijk_to_ras)
        index: list[Any] = [slice(None)] * 3
        index[axis] = slice(first, last)
        sent = np.array(array[tuple(index)], order="C")
        fields: dict[str, Any] = {"volume": geometry(from_slice(first, axis, ijk_to_ras))}
        if (first, last) != (self.start, self.stop):
            fields["slices"] = [self.start - first, self.stop - first]
        return sent, fields

    @property
    def turned(self) -> bool:
        """Whether slices stacked along another axis are sent along k: the engine expects a stack of axial slices."""
        return self.axis != 0 and (self.start, self.stop) != (0, self.count)

    def received(self, array: np.ndarray) -> np.ndarray:
        """The engine's result for `fields`, with the axes of the whole array."""
        return np.moveaxis(array, 0, self.axis) if self.turned else array

    def axial_first(self, array: np.ndarray, ijk_to_ras: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The array and its matrix with axial slices along k: same voxels, same positions."""
        order = [self.axis, *(axis for axis in range(3) if axis != self.axis)]
        matrix = ijk_to_ras.copy()
        matrix[:, :3] = ijk_to_ras[:, [2 - axis for axis in reversed(order)]]
        return array.transpose(order), matrix

    def insert(self, whole: np.ndarray, denoised: np.ndarray) -> None:
        """Write the denoised slices into the whole array, inside the box if there is one."""
        target = whole[self.part(self.start, self.stop)]
        if self.box is None:
            target[...] = cast(denoised, target.dtype)
            return
        inside = list(self.box)
        along = inside[self.axis]
        inside[self.axis] = slice(along.start - self.start, along.stop - self.start)
        target[tuple(inside)] = cast(denoised[tuple(inside)], target.dtype)


def whole_region(shape: tuple[int, ...], ijk_to_ras: np.ndarray) -> Region:
    """Every slice."""
    axis = axial_axis(ijk_to_ras)
    return Region(axis, 0, shape[axis], shape[axis])


def slice_region(shape: tuple[int, ...], ijk_to_ras: np.ndarray, first: int, last: int) -> Region:
    """Axial slices first … last, counted from 1; last 0: the last slice. Raises ValueError if they do not exist."""
    axis = axial_axis(ijk_to_ras)
    count = shape[axis]
    last = last or count
    if not 1 <= first <= last <= count:
        text = _("Slices {first} to {last} are out of range: the volume has slices 1 to {count}.")
        raise ValueError(text.format(first=first, last=last, count=count))
    return Region(axis, first - 1, last, count)


def box_region(shape: tuple[int, ...], ijk_to_ras: np.ndarray, corners_ras: np.ndarray) -> Region:
    """The voxels of a box given by its 8 corners in RAS (8, 3). Raises ValueError if it is outside the volume."""
    ras_to_ijk = np.linalg.inv(ijk_to_ras)
    ijk = corners_ras @ ras_to_ijk[:3, :3].T + ras_to_ijk[:3, 3]
    low = np.ceil(ijk.min(axis=0) - 1e-6).astype(int)[::-1]
    high = np.floor(ijk.max(axis=0) + 1e-6).astype(int)[::-1] + 1
    low, high = np.maximum(low, 0), np.minimum(high, shape)
    if (low >= high).any():
        raise ValueError(_("The ROI lies outside the volume. Move it over the anatomy to denoise."))
    axis = axial_axis(ijk_to_ras)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return Region(axis, int(low[axis]), int(high[axis]), shape[axis], box)


def from_slice(index: int, axis: int, ijk_to_ras: np.ndarray) -> np.ndarray:
    """(4, 4) IJK to RAS of the subarray that starts at a slice along an axis."""
    matrix = ijk_to_ras.copy()
    matrix[:3, 3] += index * ijk_to_ras[:3, 2 - axis]
    return matrix


def geometry(ijk_to_ras: np.ndarray) -> dict[str, Any]:
    """Spacing, origin and direction (LPS, mm) as in the worker protocol."""
    ijk_to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ijk_to_ras
    spacing = np.linalg.norm(ijk_to_lps[:3, :3], axis=0)
    return {
        "spacing": spacing.tolist(),
        "origin": ijk_to_lps[:3, 3].tolist(),
        "direction": (ijk_to_lps[:3, :3] / spacing).tolist(),
    }


def cast(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values cast to the type of a volume node, clipped to its range."""
    if dtype.kind == "f" or values.dtype == dtype:
        return values.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    if values.dtype.kind == "f":
        values = np.rint(values)
    return np.clip(values, limits.min, limits.max).astype(dtype)
