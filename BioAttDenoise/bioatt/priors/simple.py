"""Priors that do not depend on the image: the paper's ablations (uniform, random) and given probabilities."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bioatt.core.errors import InputError
from bioatt.core.volume import Volume
from bioatt.io.files import read_json
from bioatt.priors.base import Prior


class UniformPrior:
    """p = 1/N for every slice."""

    def __init__(self, descriptors: tuple[str, ...]) -> None:
        self.descriptors = descriptors

    def probabilities(self, volume: Volume, *, cancelled: Callable[[], bool] | None = None) -> Prior:
        """See AnatomicalPrior."""
        n = len(self.descriptors)
        p = np.full((len(volume.slice_ids), n), 1 / n, np.float32)
        return Prior(p, self.descriptors, "uniform", volume.slice_ids)


class RandomPrior:
    """p drawn uniformly from all distributions over N descriptors (Dirichlet), by slice identifier and seed."""

    def __init__(self, descriptors: tuple[str, ...], seed: int = 0) -> None:
        self.descriptors = descriptors
        self.seed = seed

    def probabilities(self, volume: Volume, *, cancelled: Callable[[], bool] | None = None) -> Prior:
        """See AnatomicalPrior."""
        p = np.stack([self._draw(identity) for identity in volume.slice_ids])
        return Prior(p, self.descriptors, f"random:{self.seed}", volume.slice_ids)

    def _draw(self, identity: str) -> np.ndarray:
        digest = hashlib.sha256(f"{self.seed}/{identity}".encode()).digest()
        generator = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        return generator.dirichlet(np.ones(len(self.descriptors))).astype(np.float32)


class FixedPrior:
    """Given probabilities: one row for all slices, or rows by slice identifier."""

    def __init__(
        self,
        p: np.ndarray,
        descriptors: tuple[str, ...],
        slice_ids: tuple[str, ...] | None = None,
        source: str = "file",
    ) -> None:
        """p: (N,) for all slices, or (slices, N) with slice_ids; source: see `Prior`.

        Raises InputError if p is not a distribution.
        """
        rows = np.atleast_2d(np.asarray(p, np.float32))
        self.everywhere = slice_ids is None
        if self.everywhere and len(rows) != 1:
            raise InputError('a prior of several slices needs slice identifiers: add "slices"')
        self.prior = Prior(rows, descriptors, source, slice_ids if slice_ids is not None else ("",))

    @classmethod
    def from_file(cls, path: Path) -> FixedPrior:
        """Read a file written by `bioatt prior --json`; a file without "slices" holds one row for all slices.

        Raises InputError if the file cannot be read or is not such a table.
        """
        table = read_json(path, "prior file")
        try:
            return cls(*_parse(table))
        except InputError as error:
            raise InputError(f"prior file {path.name}: {error}") from None

    def probabilities(self, volume: Volume, *, cancelled: Callable[[], bool] | None = None) -> Prior:
        """See AnatomicalPrior. Raises InputError if a slice of the volume has no row."""
        if not self.everywhere:
            return self.prior.select(volume.slice_ids)
        p = np.repeat(self.prior.p, len(volume.slice_ids), axis=0)
        return Prior(p, self.prior.descriptors, self.prior.source, volume.slice_ids)


def _parse(table: Any) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...] | None]:
    if not isinstance(table, dict) or not {"descriptors", "probabilities"} <= table.keys():
        raise InputError('a prior must be {"descriptors": [...], "slices": [...], "probabilities": [[...], ...]}')
    descriptors, slices = table["descriptors"], table.get("slices")
    for what, names in (("descriptors", descriptors), ("slices", slices if slices is not None else [])):
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"{what} must be a list of strings")
        if len(set(names)) != len(names):
            raise InputError(f"{what} must be unique")
    try:
        p = np.array(table["probabilities"], np.float32)
    except (TypeError, ValueError):
        raise InputError("probabilities must be numbers, with one row of equal length per slice") from None
    if p.ndim not in (1, 2) or p.shape[-1] != len(descriptors):
        raise InputError(f"probabilities must have {len(descriptors)} numbers per slice, one per descriptor")
    return p, tuple(descriptors), None if slices is None else tuple(slices)
