"""Anatomical prior: a distribution over descriptors for every slice, keyed by the slice's identifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bioatt.core.errors import InputError
from bioatt.core.volume import Volume
from bioatt.priors.spatial import SpatialRows

_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Prior:
    """Probabilities p of N descriptors for each slice of a volume.

    p: float32 (slices, N), or rows of (N, H, W) for a spatial prior; sums to 1 over N (to at most 1 if not `complete`).
    slice_ids: identifier of each row's slice. source: name for reports and warnings. Raises InputError if shapes
    disagree or p is not a distribution.
    """

    p: NDArray[np.float32] | SpatialRows
    descriptors: tuple[str, ...]
    source: str
    slice_ids: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.p.ndim not in (2, 4) or self.p.shape[:2] != (len(self.slice_ids), len(self.descriptors)):
            raise InputError(
                f"prior of shape {self.p.shape} does not fit {len(self.slice_ids)} slices and "
                f"{len(self.descriptors)} descriptors"
            )
        if isinstance(self.p, np.ndarray):
            object.__setattr__(self, "p", np.ascontiguousarray(self.p, np.float32))
            sums = self.p.sum(axis=1)
            if not (np.all(self.p >= 0) and np.all(np.abs(sums - 1) < _SUM_TOLERANCE)):
                raise InputError(
                    "prior is not a distribution: each slice's probabilities must be 0 or more and sum to 1"
                )

    @property
    def spatial(self) -> bool:
        """Whether p varies by pixel."""
        return self.p.ndim == 4

    def select(self, slice_ids: Sequence[str]) -> Prior:
        """Rows of these slices, found by identifier. Raises InputError for slices that the prior lacks."""
        row_of = {identity: row for row, identity in enumerate(self.slice_ids)}
        unknown = sum(identity not in row_of for identity in slice_ids)
        if unknown:
            raise InputError(
                f"prior from {self.source} contains {len(slice_ids) - unknown} of {len(slice_ids)} slices: "
                "compute it for this volume"
            )
        rows = [row_of[identity] for identity in slice_ids]
        return replace(self, p=self.p[rows], slice_ids=tuple(slice_ids))

    def aligned_to(self, descriptors: Sequence[str]) -> Prior:
        """Reorder the columns to match `descriptors` by name.

        Other columns are dropped and the rest is scaled to sum to 1 (uniform if the rest is 0). Raises InputError, with
        the missing names, if the prior lacks any.
        """
        names = tuple(descriptors)
        if names == self.descriptors:
            return self
        missing = [name for name in names if name not in self.descriptors]
        if missing:
            raise InputError(
                f"prior from {self.source} does not cover the descriptors {', '.join(missing)}: "
                "use the model's own descriptor set"
            )
        columns = [self.descriptors.index(name) for name in names]
        p = self.p.take_columns(columns) if isinstance(self.p, SpatialRows) else normalised(self.p[:, columns])
        return replace(self, p=p, descriptors=names)

    def cropped(self, y: slice, x: slice) -> Prior:
        """Crop to these rows and columns of pixels; a prior that is not spatial stays unchanged."""
        if isinstance(self.p, SpatialRows):
            return replace(self, p=self.p.cropped(y, x))
        return replace(self, p=self.p[:, :, y, x]) if self.spatial else self

    def as_table(self) -> dict[str, Any]:
        """The JSON form that `FixedPrior` reads: descriptors, slices (identifiers) and probabilities by slice.

        A spatial prior is reduced to each slice's mean, scaled to sum to 1.
        """
        p = normalised(self.p.slice_means()) if isinstance(self.p, SpatialRows) else self.p
        return {
            "descriptors": list(self.descriptors),
            "slices": list(self.slice_ids),
            "probabilities": [[round(float(value), 6) for value in row] for row in p],
            "source": self.source,
        }


class AnatomicalPrior(Protocol):
    """A source of priors."""

    def probabilities(self, volume: Volume, *, cancelled: Callable[[], bool] | None = None) -> Prior:
        """Prior of the axial slices of `volume` (see `core.canonical`), one row per slice, in order.

        A slice's row depends on the slice's content and identifier and, with smoothing along z, on its neighbours, but
        never on its index. Raises Cancelled when `cancelled()` returns True.
        """
        ...


@runtime_checkable
class PlacedPrior(Protocol):
    """An AnatomicalPrior from structures with a position; they may lie outside part of the scan, but not all of it."""

    def part_probabilities(self, part: Volume, whole: Volume, *, cancelled: Callable[[], bool] | None = None) -> Prior:
        """`AnatomicalPrior.probabilities` for part of `whole`. Raises InputError if no structure lies in `whole`."""
        ...


def part_prior(
    source: AnatomicalPrior, part: Volume, whole: Volume, cancelled: Callable[[], bool] | None = None
) -> Prior:
    """The source's prior of `part` (canonical), which holds slices of `whole`. Raises the source's errors."""
    if isinstance(source, PlacedPrior):
        return source.part_probabilities(part, whole, cancelled=cancelled)
    return source.probabilities(part, cancelled=cancelled)


def normalised(p: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale p (…, N at axis 1, …) ≥ 0 to sum to 1 over axis 1; uniform where the sum is 0."""
    total = p.sum(axis=1, keepdims=True)
    return np.where(total > 0, p / np.where(total > 0, total, 1), np.float32(1 / p.shape[1])).astype(np.float32)
