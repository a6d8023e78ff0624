"""Common interface of anatomy sources, which locate the organs of a scan: a network or a label volume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bioatt.anatomy.descriptors import ANATOMY_SET, load_descriptor_set
from bioatt.anatomy.regions import voxels_by_value
from bioatt.core.volume import Volume


class OrganProbabilities(Protocol):
    """Organs of a canonical volume, resampled to the pixels of a slice on access."""

    @property
    def descriptors(self) -> tuple[str, ...]:
        """The organs, in the order of their columns."""
        ...

    @property
    def source(self) -> str:
        """Name for reports."""
        ...

    @property
    def least_ml(self) -> float:
        """Organs smaller than this in the whole volume are treated as errors of the source."""
        ...

    def organ(self, z: int, column: int) -> NDArray[np.float32]:
        """(H, W) probability of an organ at each pixel of slice z; the sum over all organs is at most 1."""
        ...

    def labels(self, z: int) -> NDArray[np.uint8]:
        """(H, W): 1 + the column of the most probable organ, 0 where none is most probable."""
        ...


class AnatomySource(Protocol):
    """Finds the organs of a volume."""

    def maps(self, volume: Volume, *, cancelled: Callable[[], bool] | None = None) -> OrganProbabilities:
        """Organs of a canonical volume or part of one; a slice's organs depend on at most CONTEXT_SLICES neighbours.

        Raises Cancelled when `cancelled()` returns True.
        """
        ...


@runtime_checkable
class PlacedSource(Protocol):
    """A source whose structures have a position, and may therefore lie outside the scan."""

    def check_place(self, whole: Volume) -> None:
        """Raise InputError if the source cannot be placed on `whole` or does not overlap it."""
        ...


def organs_of(
    source: AnatomySource, part: Volume, whole: Volume, *, cancelled: Callable[[], bool] | None = None
) -> OrganProbabilities:
    """Organs of `part` (canonical), which holds slices of `whole`. Raises InputError as `PlacedSource`, Cancelled."""
    if isinstance(source, PlacedSource):
        source.check_place(whole)
    return source.maps(part, cancelled=cancelled)


def label_volume(organs: OrganProbabilities, volume: Volume) -> NDArray[np.uint8]:
    """Labels (z, y, x) of the organs' volume: 0 for none, else index in ANATOMY_SET + 1.

    Organs smaller than the source's `least_ml` are omitted.
    """
    names = load_descriptor_set(ANATOMY_SET).descriptors
    value_of = np.array([0, *(names.index(name) + 1 for name in organs.descriptors)], np.uint8)
    labels = np.stack([value_of[organs.labels(z)] for z in range(volume.shape[0])])
    small = voxels_by_value(labels) * float(np.prod(volume.spacing)) < 1000 * organs.least_ml
    return np.where(small, 0, np.arange(small.size)).astype(np.uint8)[labels]


def probability_volume(organs: OrganProbabilities, name: str, slices: int) -> NDArray[np.uint8]:
    """(z, y, x) probability of an organ, p = value / 255. Raises InputError for an unknown name."""
    known = load_descriptor_set(ANATOMY_SET)
    column = organs.descriptors.index(known.descriptors[known.column_named(name)])
    return np.stack([np.rint(organs.organ(z, column) * 255).astype(np.uint8) for z in range(slices)])
