"""Runs the examination and stores each case's measurements immediately, so that an interrupted run resumes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bioatt.core.errors import InputError
from bioatt.io.files import make_folder
from bioatt_training.slabs.stacks import plans
from bioatt_training.studies.benchmark.store import Store
from bioatt_training.studies.network import conditions, scans, slices
from bioatt_training.studies.network.examined import Examined
from bioatt_training.studies.network.scans import Scan, spread

log = logging.getLogger(__name__)
Row = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """Extent of the measurements. places: scans per patient. slabs: per volume. slab_files: per class of slice spacing,
    None for all. torsos: per spacing. under_priors: slices denoised under every prior, from different patients.
    """

    name: str = "full"
    patients: int | None = None
    places: int = 2
    slabs: int = 3
    slab_files: int | None = None
    torsos: int = 3
    steps: tuple[float, ...] = scans.STEPS_MM
    pixels: int = 512
    under_priors: int = 16


QUICK = Size(
    "quick", patients=3, places=1, slabs=1, slab_files=1, torsos=1, steps=(0.94, 3.0), pixels=256, under_priors=3
)


class Runner:
    """Measures models on the patients of a part of the split. Raises InputError if it has none."""

    def __init__(self, models: Sequence[Examined], data: Path, split: Path, part: str, work: Path, size: Size) -> None:
        self.models, self.part, self.size = models, part, size
        self.plans = plans(data, split, (part,))
        if not self.plans:
            raise InputError(f"no scan of the {part} patients lies in {data.name}: check the folder and the split")
        self.folder = work / "scans"
        make_folder(self.folder)
        self.store = Store(work / "measured.jsonl")

    def singles(self) -> list[Row]:
        """One row of `slices.single` per scan and model."""
        return self._rows("single", self._single_slices(), slices.single)

    def slabs(self) -> list[Row]:
        """One row of `slices.neighbours` per slab and model."""
        found = scans.slabs(self.plans, self.folder, self.size.slabs, self.size.slab_files)
        return self._rows("slab", found, slices.neighbours)

    def torsos(self) -> list[Row]:
        """One row of `slices.neighbours` per torso, spacing and model."""
        found = scans.torsos(self.folder, self.size.torsos, self.size.steps, self.size.pixels)
        return self._rows("torso", found, slices.neighbours)

    def priors(self) -> list[Row]:
        """One row of `conditions.priors` per patient and model; the stranger is the next patient's slice."""
        of_patients = list({scan.patient: scan for scan in self._single_slices()}.values())
        chosen = [of_patients[k] for k in spread(range(len(of_patients)), self.size.under_priors)]
        rows = []
        for scan, stranger in zip(chosen, chosen[1:] + chosen[:1], strict=True):

            def measure(model: Examined, scan: Scan, stranger: Scan = stranger) -> Row:
                return conditions.priors(model, scan, stranger)

            rows += self._rows(f"priors, stranger {stranger.name},", [scan], measure)
        return rows

    def _single_slices(self) -> list[Scan]:
        patients = list(dict.fromkeys(plan.patient for plan in self.plans))
        few = {patients[k] for k in spread(range(len(patients)), self.size.patients or len(patients))}
        wanted = [plan for plan in self.plans if plan.patient in few]
        return list(scans.single_slices(wanted, self.folder, self.size.places))

    def _rows(self, what: str, cases: Iterable[Scan], measure: Callable[[Examined, Scan], Row]) -> list[Row]:
        rows = []
        for scan in cases:
            log.info("%s %s", what, scan.name)
            for model in self.models:
                found = self.store.get(
                    f"{what} {scan.name} {model.identity}",
                    lambda model=model, scan=scan: measure(model, scan),  # type: ignore[misc]
                )
                rows.append({**_where(scan), "model": model.name, **found})
        return rows


def _where(scan: Scan) -> Row:
    return {
        "case": scan.name,
        "patient": scan.patient,
        "step_mm": scan.step_mm,
        "thickness_mm": scan.thickness_mm,
        "sharpness": scan.sharpness,
    }
