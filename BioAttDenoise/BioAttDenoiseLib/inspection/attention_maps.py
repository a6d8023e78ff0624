"""The attention maps of one run of the network, stored as received from the engine (uint8), and views of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bioatt.core import attention_views as views

from ..scene import regions

UNIFIED = "unified"
RAW, CONTRAST, CONTRIBUTION = views.VIEWS


@dataclass(frozen=True)
class SlicePrior:
    """Probabilities (slices, N) of the descriptors, in the order of the array's slices from index `start` on."""

    descriptors: tuple[str, ...]
    p: np.ndarray
    start: int
    source: str

    def at(self, index: int) -> np.ndarray | None:
        """The probabilities at an index of the whole array, None outside the denoised region."""
        row = index - self.start
        return self.p[row] if 0 <= row < len(self.p) else None

    def rows(self, index: int) -> list[tuple[str, float]]:
        """(structure, probability) of a slice, most probable first; empty outside the denoised region."""
        p = self.at(index)
        if p is None:
            return []
        return [(self.descriptors[n], float(p[n])) for n in np.argsort(-p, kind="stable")]


def slice_prior(table: dict[str, Any], region: regions.Region, ijk_to_ras: np.ndarray) -> SlicePrior:
    """The engine's table (rows from feet to head), reordered to the array's slices."""
    rows = np.asarray(table["probabilities"], np.float32)
    if rows.ndim == 4:  # a spatial prior (slices, N, y, x): its mean over each slice
        rows = rows.mean(axis=(2, 3))
    if ijk_to_ras[2, 2 - region.axis] < 0:
        rows = rows[::-1]
    return SlicePrior(tuple(table["descriptors"]), rows, region.start, table["source"])


@dataclass(frozen=True)
class AttentionMaps:
    """maps: (stage, descriptor or "unified") → uint8 of the region's slices. prior is None if the model has none."""

    region: regions.Region
    shape: tuple[int, int, int]
    prior: SlicePrior | None
    maps: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(stage for stage, _ in self.maps))

    def names(self, stage: str) -> tuple[str, ...]:
        """The maps available for a stage: the organs, and "unified"."""
        return tuple(name for s, name in self.maps if s == stage)

    def voxels(self, stage: str, name: str, view: str = RAW) -> np.ndarray:
        """float32 of the whole volume's shape: 0 … 1, for the contrast over organs −1 … 1; 0 outside the region.

        Raises InputError if the contrast has no other organ to compare with, KeyError for a missing map.
        """
        stored = self.maps[stage, name]
        if view == CONTRAST and name != UNIFIED:
            organs = {n: a for (s, n), a in self.maps.items() if s == stage and n != UNIFIED}
            values = views.contrast(organs, name)
        elif view == CONTRIBUTION and name != UNIFIED and self.prior is not None:
            values = views.contribution(stored, self._along_slices(self.prior.p[:, self.prior.descriptors.index(name)]))
        else:
            values = views.raw(stored)
        whole = np.zeros(self.shape, np.float32)
        whole[self.region.part(self.region.start, self.region.stop)] = values
        return whole

    def _along_slices(self, p: np.ndarray) -> np.ndarray:
        shape = [1, 1, 1]
        shape[self.region.axis] = len(p)
        return p.reshape(shape)


def maps_of_reply(
    reply: dict[str, Any], region: regions.Region, shape: tuple[int, int, int], ijk_to_ras: np.ndarray
) -> AttentionMaps:
    """The maps in the engine's reply to `denoise` with `attention`."""
    prior = slice_prior(reply["prior"], region, ijk_to_ras) if reply["prior"] else None
    maps = {(entry["stage"], entry["name"]): region.received(entry["array"]) for entry in reply["attention"]}
    return AttentionMaps(region, shape, prior, maps)
