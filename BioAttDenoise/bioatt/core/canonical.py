"""Conversion of volumes: canonical for the prior and network (axial slices in LPS order, padding replaced by air), and
upright for formats that cannot represent the sheared slices of a tilted gantry."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bioatt.core.geometry import nearest_axes
from bioatt.core.hu import AIR_HU, cast
from bioatt.core.volume import Volume


@dataclass(frozen=True, eq=False)
class Canonical:
    """A volume as axial slices in LPS order (x to the left, y to the back, z to the head), and the inverse mapping.

    volume: float32 HU, padding replaced by air (-1000 HU). padding_mask: (z, y, x) bool on its grid.
    axial: False if the original's slices were not axial (a coronal or sagittal reformat).
    """

    volume: Volume
    padding_mask: np.ndarray
    axial: bool
    _axes: tuple[int, int, int]
    _flips: tuple[int, ...]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """View of an array (..., z, y, x) on the original's grid (labels, maps) in canonical order."""
        lead = array.ndim - 3
        array = array.transpose(*range(lead), *(lead + axis for axis in self._axes))
        return np.flip(array, tuple(lead + axis for axis in self._flips))

    def undo(self, array: np.ndarray) -> np.ndarray:
        """View of a canonical array (..., z, y, x) in the original's axes and order."""
        lead = array.ndim - 3
        array = np.flip(array, tuple(lead + axis for axis in self._flips))
        return array.transpose(*range(lead), *(lead + int(axis) for axis in np.argsort(self._axes)))

    def index_of(self, slices: range) -> tuple[slice, slice, slice]:
        """Index (z, y, x) that selects the original's `slices`, in stored order, from a canonical array."""
        index = [slice(0, length) for length in self.volume.shape]
        axis = self._axes.index(0)
        count = self.volume.shape[axis]
        flipped = axis in self._flips
        index[axis] = slice(count - slices.stop, count - slices.start) if flipped else slice(slices.start, slices.stop)
        return index[0], index[1], index[2]


def canonical(volume: Volume) -> Canonical:
    """Convert a volume to float32 axial slices in LPS order, with padding replaced by air.

    Each array axis is assigned to the nearest world axis; oblique directions keep their angle. Nothing is resampled.
    """
    world_to_index, signs = nearest_axes(volume.direction)
    index = list(world_to_index)
    axes = (2 - index[2], 2 - index[1], 2 - index[0])
    flips = tuple(2 - world for world in range(3) if signs[world] < 0)
    last = np.array(volume.shape[::-1]) - 1
    corner = [last[a] if signs[w] < 0 else 0 for w, a in sorted(enumerate(index), key=lambda pair: pair[1])]
    axial = index[2] == 2
    order = slice(None, None, int(signs[2]))

    mask = volume.padding_mask
    shell = Canonical(volume, mask, axial, axes, flips)
    mask = np.ascontiguousarray(shell.apply(mask))
    hu = np.array(shell.apply(volume.hu), dtype=np.float32, order="C")
    hu[mask] = AIR_HU
    direction = volume.direction[:, index] * signs
    straight = replace(
        volume,
        hu=hu,
        spacing=(volume.spacing[index[0]], volume.spacing[index[1]], volume.spacing[index[2]]),
        origin=tuple((volume.ijk_to_lps @ [*corner, 1])[:3]),
        direction=direction,
        slice_ids=volume.slice_ids[order] if axial else (),
        sources=volume.sources[order] if axial and len(volume.sources) == volume.shape[0] else volume.sources,
        storage="float32",
        padding=(),
        rescale=(),
    )
    return Canonical(straight, mask, axial, axes, flips)


def upright(volume: Volume) -> Volume:
    """Resample a sheared volume so that its third axis is normal to the slices.

    Each slice is shifted in its own plane by linear interpolation. Padding and everything outside the scan become air
    (-1000 HU). Spacing along the third axis becomes the distance between slice planes. A right-angled volume is
    returned unchanged. Shifts by a fraction of a pixel smooth the noise: denoise first.
    """
    if volume.right_angled:
        return volume
    from scipy.ndimage import shift

    i, j = volume.direction[:, 0], volume.direction[:, 1]
    normal = np.cross(i, j)
    normal /= np.linalg.norm(normal)
    step = volume.direction[:, 2] * volume.spacing[2]
    normal *= np.sign(normal @ step)
    plane = np.linalg.lstsq(np.column_stack([i, j]), step - (step @ normal) * normal, rcond=None)[0]
    column, row = plane / volume.spacing[:2]  # shift per slice in pixels
    mask = volume.padding_mask
    ends = [np.array([column, row]) * k for k in (0, volume.shape[0] - 1)]
    first = np.floor(np.minimum(*ends)).astype(int)
    last = np.ceil(np.maximum(*ends)).astype(int)
    width, height = last - first
    out = np.full((volume.shape[0], volume.shape[1] + height, volume.shape[2] + width), AIR_HU, np.float32)
    for k, target in enumerate(out):
        target[: volume.shape[1], : volume.shape[2]] = np.where(mask[k], AIR_HU, volume.hu[k])
        offset = (k * row - first[1], k * column - first[0])
        target[...] = shift(target, offset, order=1, mode="constant", cval=AIR_HU)
    origin = volume.ijk_to_lps @ [*first, 0, 1]
    return replace(
        volume,
        hu=cast(out, volume.hu.dtype),
        spacing=(*volume.spacing[:2], float(step @ normal)),
        origin=tuple(origin[:3]),
        direction=np.column_stack([i, j, normal]),
        slice_ids=(),
        sources=volume.sources if len(volume.sources) == 1 else (),
        padding=(),
        rescale=(),
        warnings=tuple(line for line in volume.warnings if "gantry" not in line),
    )
