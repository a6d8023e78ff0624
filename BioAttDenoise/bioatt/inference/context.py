"""The part of a volume on which denoising some of its slices depends, converted to canonical order once."""

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

    canonical: that part. An axial slice depends on CONTEXT_SLICES neighbours on either side, through its prior, its
    noise level and the network's input planes. A coronal or sagittal slice is a line in every axial slice, so it
    depends on the whole stack.
    box: index (z, y, x) in `canonical` of the region that the network denoises: the slices, plus a halo on either side
    if the stack is not axial. wanted: index of the slices alone.
    """

    original: Volume
    canonical: Canonical
    box: Index
    wanted: Index

    @classmethod
    def of(cls, volume: Volume, slices: range, halo: int, block: int) -> Context:
        """Build the context of a volume's slices for a network with this halo and block, in pixels.

        Raises InputError if the slices exceed the volume.
        """
        volume.part(slices)  # checks the range
        count = volume.shape[0]
        if volume.axial:
            seen = _widened(slices, CONTEXT_SLICES, count)
            form = canonical(volume.part(seen))
            wanted = form.index_of(range(slices.start - seen.start, slices.stop - seen.start))
            return cls(volume, form, wanted, wanted)
        form = canonical(volume)
        near = _widened(slices, halo, count)
        # whole blocks counted from both ends, since the canonical axis may be reversed
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

        Also None if slices are missing or unevenly spaced, since positions are then unknown.
        """
        place = self.box[0].start + k + offset
        stack = self.canonical.volume
        if not (self.original.even and 0 <= place < stack.shape[0]):
            return None
        return stack.hu[(place, *self.box[1:])]

    def body_weight(self, k: int) -> NDArray[np.float32]:
        """`body_weight` of slice k of the box, (y, x); from the whole axial slice, so it does not depend on the box."""
        whole = self.canonical.volume.hu[self.box[0].start + k]
        return body_weight(whole)[self.box[1:]]

    def noise_levels(self) -> NDArray[np.float32]:
        """`noise_levels` of the box's axial slices, (z,)."""
        return noise_levels(self.canonical.volume.hu)[self.box[0]]

    def prior(self, source: AnatomicalPrior | Prior, cancelled: Callable[[], bool] | None) -> Prior:
        """Prior of the box's axial slices; a spatial one covers whole slices (`Prior.cropped` cuts the box out of it).

        Raises InputError if a given Prior lacks the slices, Cancelled, and the errors of the source.
        """
        seen = self.canonical.volume
        prior = source if isinstance(source, Prior) else part_prior(source, seen, self.original, cancelled)
        return prior.select(seen.slice_ids[self.box[0]])

    def restored(self, array: NDArray) -> NDArray:
        """Map an array on the box (z, y, x) to the requested slices in the original's axes and order."""
        inner = tuple(slice(w.start - b.start, w.stop - b.start) for w, b in zip(self.wanted, self.box, strict=True))
        return self.canonical.undo(array[inner])


def _widened(slices: range, by: int, count: int) -> range:
    """Extend a range by `by` neighbours on either side, within 0 … count."""
    return range(max(slices.start - by, 0), min(slices.stop + by, count))
