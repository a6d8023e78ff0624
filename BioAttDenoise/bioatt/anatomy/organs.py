"""The organs of a scan, located and measured, for the command line, the worker and Python.

from bioatt.anatomy.organs import find_organs
from bioatt.priors.anatomy import build_anatomy

found = find_organs(scan, build_anatomy("maps"), after=denoised)
found.table["organs"]         # one row per organ
found.labels                  # (z, y, x) uint8 on the scan's grid
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bioatt.anatomy.measure import MUSCLE_NAME, measure_organs
from bioatt.anatomy.sources import AnatomySource, OrganProbabilities, label_volume, organs_of, probability_volume
from bioatt.anatomy.terminology import segments_of
from bioatt.core.canonical import Canonical, canonical
from bioatt.core.segments import Segment
from bioatt.core.volume import Volume
from bioatt.io.grids import check_same_grid


@dataclass(frozen=True)
class Organs:
    """Organs found in a scan.

    labels: (z, y, x) on the scan's grid, 0 for none, else index in `paper17` + 1. table: see `measure_organs`.
    """

    labels: NDArray[np.uint8]
    table: dict[str, Any]
    probabilities: OrganProbabilities
    form: Canonical

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The organs found, in the order of their values."""
        return segments_of(row["value"] for row in self.table["organs"])

    def probability(self, name: str) -> NDArray[np.uint8]:
        """(z, y, x) probability of an organ on the scan's grid, p = value / 255. InputError for unknown names."""
        return self.form.undo(probability_volume(self.probabilities, name, self.form.volume.shape[0]))


def find_organs(
    scan: Volume,
    source: AnatomySource,
    *,
    after: Volume | None = None,
    reference: str = MUSCLE_NAME,
    cancelled: Callable[[], bool] | None = None,
) -> Organs:
    """Find and measure the organs of a scan. after: the denoised scan to compare.

    reference: see `measure_organs`. Raises InputError if the scans' grids differ, the reference is unknown, or the
    source does not overlap the scan; Cancelled when `cancelled()` returns True.
    """
    if after is not None:
        check_same_grid(scan, after)
    form = canonical(scan)
    organs = organs_of(source, form.volume, scan, cancelled=cancelled)
    labels = label_volume(organs, form.volume)
    table = measure_organs(
        labels,
        form.volume,
        None if after is None else canonical(after).volume,
        reference=reference,
        anatomy=organs.source,
        cancelled=cancelled,
    )
    return Organs(form.undo(labels), table, organs, form)
