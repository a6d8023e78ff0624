"""What denoising some slices of a volume depends on: their neighbours, brought to canonical order once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bioatt.core.body import body_weight
from bioatt.core.canonical import Canonical, canonical
from bioatt.core.noise import CONTEXT_SLICES, noise_levels
from bioatt.core.volume import Volume
from bioatt.priors.base import AnatomicalPrior, Prior, part_prior

Index = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Context:
    """Slices to denoise within the part of their volume on which the result depends.

    canonical: that part. An axial slice depends on CONTEXT_SLICES neighbours on either side, by its prior, its noise
    level and what the network sees of them. A coronal or sagittal slice is a line of every axial slice: the whole
    stack.
    box: index (z, y, x) in `canonical` of what the network denoises: the slices, and in a stack that is not axial its
    halo beside them. wanted: index of the slices alone.
    """

    original: Volume
    canonical: Canonical
    box: Index
    wanted: Index

    @classmethod
    def of(cls, volume: Volume, slices: range, halo: int, block: int) -> Context:
        """The context of a volume's slices for a network of this halo and block, in pixels.

        Raises InputError if the slices leave the volume.
        """
        volume.part(slices)  # refuses a bad range
        count = volume.shape[0]
        if volume.axial:
            seen = _widened(slices, CONTEXT_SLICES, count)
            form = canonical(volume.part(seen))
            wanted = form.index_of(range(slices.start - seen.start, slices.stop - seen.start))
            return cls(volume, form, wanted, wanted)
        form = canonical(volume)
        near = _widened(slices, halo, count)
        # whole blocks counted from either end, since the canonical axis may run the other way
        near = range(near.start - near.start % block, near.stop + (count - near.stop) % block)
        return cls(volume, form, form.index_of(near), form.index_of(slices))

    @property
    def hu(self) -> NDArray[np.float32]:
        """HU (z, y, x) of the box."""
        return self.canonical.volume.hu[self.box]

    @property
    def step_mm(self) -> float:
        """Distance between axial slices."""
        return self.canonical.volume.spacing[2]

    def neighbour(self, k: int, offset: int) -> NDArray[np.float32] | None:
        """HU (y, x) of the axial slice `offset` above slice k of the box (below: negative); None if there is none.

        None too where slices of the volume are missing or unevenly spaced: nobody knows where.
        """
        place = self.box[0].start + k + offset
        stack = self.canonical.volume
        if not (self.original.even and 0 <= place < stack.shape[0]):
            return None
        return stack.hu[(place, *self.box[1:])]

    def body_weight(self, k: int) -> NDArray[np.float32]:
        """`body_weight` of slice k of the box, (y, x), found on the whole axial slice: the same in every box."""
        whole = self.canonical.volume.hu[self.box[0].start + k]
        return body_weight(whole)[self.box[1:]]

    def noise_levels(self) -> NDArray[np.float32]:
        """`noise_levels` of the box's axial slices, (z,)."""
        return noise_levels(self.canonical.volume.hu)[self.box[0]]

    def prior(self, source: AnatomicalPrior | Prior, cancelled: Callable[[], bool] | None) -> Prior:
        """Prior of the box's axial slices; a spatial one covers whole slices (`Prior.cropped` cuts the box out of it).

        Raises InputError if a given Prior does not know the slices, Cancelled, and what the source raises.
        """
        seen = self.canonical.volume
        prior = source if isinstance(source, Prior) else part_prior(source, seen, self.original, cancelled)
        return prior.select(seen.slice_ids[self.box[0]])

    def restored(self, array: NDArray) -> NDArray:
        """An array on the box, (z, y, x) → the wanted slices in the original's axes and order."""
        inner = tuple(slice(w.start - b.start, w.stop - b.start) for w, b in zip(self.wanted, self.box, strict=True))
        return self.canonical.undo(array[inner])


def _widened(slices: range, by: int, count: int) -> range:
    """The range and `by` neighbours on either side, within 0 … count."""
    return range(max(slices.start - by, 0), min(slices.stop + by, count))
