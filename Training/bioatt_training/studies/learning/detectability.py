"""Detectability of faint inserts after denoising, by the observers of the physics study."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from bioatt_training.data.bank import DOSE
from bioatt_training.studies.benchmark.denoisers import WHOLE
from bioatt_training.studies.benchmark.store import Store
from bioatt_training.studies.physics import phantoms
from bioatt_training.studies.physics.detection import measure
from bioatt_training.studies.physics.results import FIRST, compared
from bioatt_training.studies.physics.subjects import Network

KERNEL, SCANS = "B30", 160


class Detectability:
    """Mean d′ of the low-contrast inserts at quarter dose, output over input, as [ratio, low, high].

    Stored in a file; the same simulated scans for every model.
    """

    def __init__(self, path: Path) -> None:
        self.store = Store(path)
        self.phantom = phantoms.cylinder(phantoms.LOW)

    def __call__(self, weights: Path) -> list[float]:
        """The ratio of a model file at strength 1."""
        model = Network(str(weights), WHOLE)

        def make() -> list[float]:
            found = measure(self.phantom, self._scans, [model], (FIRST,))
            ratio: list[float] = compared(found, model.name)[model.name]["mean ratio"][FIRST]
            return ratio

        kept: list[float] = self.store.get(f"{model.identity} {KERNEL} {SCANS}", make)
        return kept

    @cached_property
    def _scans(self) -> phantoms.Scans:
        return phantoms.scans(self.phantom, KERNEL, DOSE, SCANS, seed=1)
