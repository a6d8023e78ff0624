"""Runs the measurements of the study and stores each immediately, so that an interrupted run resumes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bioatt_training.studies.benchmark.store import Store
from bioatt_training.studies.physics import audit, detection, phantoms, tasks
from bioatt_training.studies.physics.detection import INPUT
from bioatt_training.studies.physics.phantoms import HIGH, LOW, SIZES_MM, Phantom
from bioatt_training.studies.physics.subjects import Network, SliceAverage, Subject

QUARTER, FULL = 0.25, 1.0
FEW = (LOW[5], LOW[6], LOW[7], LOW[3])
"""Inserts for the liver and for other patient sizes."""
TASK_SEEDS = (51, 52, 53, 54)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Size:
    """Extent of the measurements. scans: per phantom, kernel and dose; pixels: side of the water phantom's slices.

    slow_scans: of those, for subjects that need seconds a slice. kernels: the first is the one of the model card.
    doses: of the input; output_doses: doses at which outputs are also measured.
    """

    name: str = "full"
    scans: int = 320
    slow_scans: int = 80
    pixels: int = 320
    kernels: tuple[str, ...] = ("B30", "B20", "B50")
    doses: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)
    output_doses: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)
    high_kernels: tuple[str, ...] = ("B20", "B30", "B50")
    liver_scans: int = 160
    liver_pixels: int = 512
    sizes: tuple[str, ...] = tuple(SIZES_MM)
    size_scans: int = 160
    audit_scans: int = 48
    task_seeds: tuple[int, ...] = TASK_SEEDS
    task_slices: int = 24
    task_pixels: int = 512


QUICK = Size(
    name="quick",
    scans=56,
    pixels=256,
    kernels=("B30", "B50"),
    output_doses=(0.25, 1.0),
    high_kernels=("B30",),
    liver_scans=48,
    liver_pixels=320,
    sizes=("newborn", "large"),
    size_scans=48,
    audit_scans=12,
    task_seeds=TASK_SEEDS[:2],
    task_slices=8,
    task_pixels=256,
)


class Runner:
    """Measures one model and plain averaging of slices; bm3d: also BM3D at quarter dose."""

    def __init__(self, model: Network, work: Path, size: Size, slow: Sequence[Subject] = ()) -> None:
        self.model, self.size = model, size
        self.subjects: tuple[Subject, ...] = (model, SliceAverage())
        self.slow = tuple(slow)
        self.store = Store(work / "measured.jsonl")

    def _stored(self, what: str, subjects: Sequence[Subject], make: Callable[[], Any]) -> Any:
        """A measurement by name, size and subjects."""
        key = f"{what} {self.size.name} {' '.join(subject.identity for subject in subjects)}"
        log.info("%s", what)
        return self.store.get(key, make)

    def _detection(self, phantom: Phantom, kernel: str, dose: float, count: int) -> dict[str, Any]:
        """{subject: …} of `detection.measure`; a slow subject's subset of scans has its own input, "given"."""

        def measured(subjects: Sequence[Subject], scans: int) -> dict[str, Any]:
            def make() -> dict[str, Any]:
                scanned = phantoms.scans(phantom, kernel, dose, scans, seed=int(100 * dose))
                return detection.measure(phantom, scanned, subjects)

            found: dict[str, Any] = self._stored(f"d {phantom.name} {kernel} {dose:g} {scans}", subjects, make)
            return found

        found = measured(self.subjects if dose in self.size.output_doses else (), count)
        for one in self.slow if dose == QUARTER and phantom.name == "low" else ():
            few = measured([one], min(count, self.size.slow_scans))
            found[one.name] = {**few[one.name], "given": few[INPUT]}
        return found

    def low(self, kernel: str) -> dict[str, Any]:
        """{dose: …} of low-contrast inserts in water of 20 cm."""
        phantom = phantoms.cylinder(LOW, size=self.size.pixels, name="low")
        return {f"{dose:g}": self._detection(phantom, kernel, dose, self.size.scans) for dose in self.size.doses}

    def high(self, kernel: str) -> dict[str, Any]:
        """{dose: …} of higher-contrast inserts, at quarter and full dose."""
        phantom = phantoms.cylinder(HIGH, size=self.size.pixels, name="high")
        return {f"{dose:g}": self._detection(phantom, kernel, dose, self.size.scans) for dose in (QUARTER, FULL)}

    def liver(self) -> dict[str, Any]:
        """{dose: …} of inserts in the liver of a torso."""
        phantom = phantoms.liver(FEW, size=self.size.liver_pixels)
        return {f"{dose:g}": self._detection(phantom, "B30", dose, self.size.liver_scans) for dose in (QUARTER, FULL)}

    def sizes(self) -> dict[str, Any]:
        """{size: …} of water with the diameters of children and adults, at quarter dose."""
        found = {}
        for name in self.size.sizes:
            diameter = SIZES_MM[name]
            pixels = self.size.pixels if diameter <= 200 else self.size.pixels * 3 // 2
            phantom = phantoms.cylinder(FEW, diameter_mm=diameter, size=pixels, name=name)
            found[name] = {
                "pixel_mm": phantom.pixel_mm,
                "diameter_mm": diameter,
                **self._detection(phantom, "B30", QUARTER, self.size.size_scans),
            }
        return found

    def agreement(self) -> dict[str, Any]:
        """{dose: `audit.agreement`} of the torso."""
        phantom = phantoms.liver(FEW, size=self.size.liver_pixels)
        count = self.size.audit_scans
        subjects = [*self.subjects, *self.slow]

        def make(dose: float) -> dict[str, Any]:
            return audit.agreement(phantoms.scans(phantom, "B30", dose, count, seed=7), subjects)

        return {
            f"{dose:g}": self._stored(f"agreement {dose:g} {count}", subjects, lambda dose=dose: make(dose))  # type: ignore[misc]
            for dose in (QUARTER, FULL)
        }

    def noticed(self) -> dict[str, Any]:
        """{"low", "high": `audit.noticed`} of the model at quarter dose."""
        count = self.size.audit_scans

        def make(inserts: tuple[tuple[float, float], ...]) -> dict[str, Any]:
            phantom = phantoms.cylinder(inserts, size=self.size.pixels)
            return audit.noticed(phantom, phantoms.scans(phantom, "B30", QUARTER, count, seed=8), self.model)

        return {
            name: self._stored(f"noticed {name} {count}", [self.model], lambda inserts=inserts: make(inserts))  # type: ignore[misc]
            for name, inserts in (("low", LOW), ("high", HIGH))
        }

    def tasks(self) -> list[dict[str, Any]]:
        """`tasks.measure` of each torso."""
        size = self.size
        return [
            self._stored(
                f"readings {seed} {size.task_slices} {size.task_pixels}",
                [self.model],
                lambda seed=seed: tasks.measure(  # type: ignore[misc]
                    seed, "B30", (FULL, QUARTER, 0.1), [self.model], slices=size.task_slices, size=size.task_pixels
                ),
            )
            for seed in size.task_seeds
        ]
