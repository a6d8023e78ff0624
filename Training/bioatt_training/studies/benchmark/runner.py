"""Runs the measurements of a benchmark and stores each immediately."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bioatt.simulation.phantom.inserts import cylinder_with_inserts
from bioatt_training.data.bank import Bank
from bioatt_training.evaluation.judge import spread
from bioatt_training.run_guard import guard_run
from bioatt_training.studies.benchmark.denoisers import Denoiser, Identity
from bioatt_training.studies.benchmark.images import Image
from bioatt_training.studies.benchmark.measures.quality import limits, quality
from bioatt_training.studies.benchmark.measures.safety import against_truth, edges, full_dose, soft_patches
from bioatt_training.studies.benchmark.measures.texture import STRENGTHS, described, repeated_noise, texture
from bioatt_training.studies.benchmark.store import Store
from bioatt_training.studies.benchmark.truth import (
    KERNELS,
    Case,
    bank_case,
    patients,
    phantom_cases,
    phantom_scan,
    scanned,
)

QUARTER, FULL = 0.25, 1.0
DOSES = (0.25, 0.5, 0.1)
TEST_SEEDS = (11, 12, 13, 14, 15, 16)
TUNING_SEEDS = (101,)
REPEATS_SEED = 21
MIDDLE = 256
"""Side in pixels of the central part on which baselines are run and compared with models."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Size:
    """Extent of the measurements.

    slices: per patient, by dose; a smaller selection is a subset of a larger one. baseline_slices: likewise for
    baselines. repeats: scans of one slice, for noise; mean_repeats: for discs and edges, whose extremes are reported
    (with six scans, f50 scatters by 2 %). pixels: side of the phantoms' slices.
    """

    slices: dict[float, int] = field(default_factory=lambda: {0.25: 6, 0.5: 3, 0.1: 3, 1.0: 4})
    baseline_slices: dict[float, int] = field(default_factory=lambda: {0.25: 2, 0.5: 1, 0.1: 1})
    seeds: tuple[int, ...] = TEST_SEEDS
    baselines: tuple[str, ...] = ()
    tuning_slices: int = 5
    repeats: int = 5
    mean_repeats: int = 25
    pixels: int = 512
    timing_runs: int = 3


QUICK = Size(
    slices=dict.fromkeys((0.25, 0.5, 0.1, 1.0), 1),
    baseline_slices=dict.fromkeys((0.25, 0.5, 0.1), 1),
    seeds=TEST_SEEDS[:2],
    baselines=("curvature diffusion", "bilateral"),
    tuning_slices=1,
    repeats=2,
    mean_repeats=2,
    pixels=128,
    timing_runs=1,
)


class Runner:
    """Measures denoisers on a bank's held-out patients and on phantoms.

    work: folder of stored measurements and phantoms. Raises InputError if they belong to another bank.
    """

    def __init__(self, bank: Bank, work: Path, size: Size | None = None) -> None:
        self.bank, self.work, self.size = bank, work, size or Size()
        guard_run(work / "bank.txt", bank.identity, "another bank")
        self.store = Store(work / "measured.jsonl")
        self._patients = self._left_out()

    def _left_out(self) -> dict[str, list[Case]]:
        """Cases by patient: of the test part, plus heads of the training part, since no head is held out."""
        most = max(self.size.slices.values())
        found = {
            patient: [bank_case(self.bank, index) for index in spread(indices, most)]
            for patient, indices in patients(self.bank, "test").items()
        }
        for patient, indices in patients(self.bank, "train").items():
            cases = [bank_case(self.bank, index, seen=True) for index in spread(indices, most)]
            if all(case.region == "head" for case in cases):
                found[patient] = cases
        return found

    def cases(self, count: int) -> list[Case]:
        """Up to `count` slices of each patient."""
        return [cases[place] for cases in self._patients.values() for place in spread(range(len(cases)), count)]

    def quality(self, denoiser: Denoiser, dose: float, cases: Sequence[Case]) -> list[dict[str, Any]]:
        """One row per case: patient and position, and `quality`; noise spectra at quarter dose; `limits` for the
        input.
        """
        rows = []
        for case in cases:
            key = f"quality {denoiser.identity} {dose:g} {case.key}"
            rows.append({**_where(case), **self.store.get(key, partial(self._quality_of, denoiser, dose, case))})
        return rows

    def _quality_of(self, denoiser: Denoiser, dose: float, case: Case) -> dict[str, Any]:
        image = case.image(dose)
        output = denoiser(image)
        _, part = image.middle(MIDDLE)
        found: dict[str, Any] = quality(case.truth, output)
        found["middle"] = quality(case.truth[part], output[part])
        if isinstance(denoiser, Identity) and case.own_noise is not None:
            found |= limits(case, dose)
        elif dose == QUARTER and case.own_noise is not None:
            removed = soft_patches(image.hu - output.astype(np.float64), case.truth)
            if len(removed):
                inserted = soft_patches(image.hu.astype(np.float64) - case.truth, case.truth)
                found["removed"] = described(removed, case.pixel_mm)
                found["inserted"] = described(inserted, case.pixel_mm)
        return found

    def quality_in_the_middle(self, denoiser: Denoiser, dose: float, cases: Sequence[Case]) -> list[dict[str, Any]]:
        """Like `quality`, but only for the central part of each slice, for the slow baselines."""
        rows = []
        for case in cases:
            key = f"middle {denoiser.identity} {dose:g} {case.key}"
            rows.append({**_where(case), **self.store.get(key, partial(self._middle_of, denoiser, dose, case))})
        return rows

    def _middle_of(self, denoiser: Denoiser, dose: float, case: Case) -> dict[str, Any]:
        image, part = case.image(dose).middle(MIDDLE)
        return quality(case.truth[part], denoiser(image))

    def phantoms(self, seeds: Sequence[int]) -> list[Case]:
        """Torsos at quarter dose."""
        return phantom_cases(seeds, (QUARTER,), self.work / "phantoms", size=self.size.pixels)

    def safety_on_patients(self, denoiser: Denoiser) -> list[dict[str, Any]]:
        """One row of `full_dose` per slice."""
        rows = []
        for case in self.cases(self.size.slices[FULL]):
            if not case.seen:
                key = f"disc shifts {denoiser.identity} {case.key}"
                rows.append({**_where(case), **self.store.get(key, partial(self._safety_of, denoiser, case))})
        return rows

    def _safety_of(self, denoiser: Denoiser, case: Case) -> dict[str, Any]:
        assert case.own_noise is not None
        return full_dose(case.truth, denoiser(case.image(FULL)), case.own_noise(), case.pixel_mm)

    def repeated(self, denoiser: Denoiser) -> dict[str, dict[str, Any]]:
        """{kernel class: {"texture full", "texture quarter"}} of a torso.

        The noise is the deviation of repeated scans from their mean, free of anatomy.
        """
        return self._by_kernel("repeated", f"{self.size.repeats} {len(STRENGTHS)}", denoiser, self._repeated)

    def _by_kernel(
        self, what: str, size: str, denoiser: Denoiser, measure: Callable[[Denoiser, str], dict[str, Any]]
    ) -> dict[str, dict[str, Any]]:
        """Measurements by kernel class, each made once. size: the members of `Size` on which they also depend."""
        return {
            sharpness: self.store.get(
                f"{what} {denoiser.identity} {kernel} {self.size.pixels} {size}", partial(measure, denoiser, kernel)
            )
            for sharpness, kernel in KERNELS.items()
        }

    def _repeated(self, denoiser: Denoiser, kernel: str) -> dict[str, Any]:
        repeats, folder = self.size.repeats, self.work / "phantoms"
        scans, pixel_mm = phantom_scan(
            REPEATS_SEED, kernel, (FULL, QUARTER), folder, size=self.size.pixels, slices=2, repeats=repeats
        )
        found: dict[str, Any] = {}
        for name, dose in (("full", "1"), ("quarter", "0.25")):
            before, after = scans[dose], _stack(denoiser, scans[dose], pixel_mm)
            noise = [soft_patches(repeated_noise(stack, repeats), scans["truth"]) for stack in (before, after)]
            found[f"texture {name}"] = texture(noise[0], noise[1], pixel_mm) if len(noise[0]) else None
        return found

    def discs(self, denoiser: Denoiser) -> dict[str, dict[str, Any]]:
        """{kernel class: `against_truth`} of the same torso at full dose."""
        return self._by_kernel("disc changes", f"{self.size.mean_repeats}", denoiser, self._discs)

    def _discs(self, denoiser: Denoiser, kernel: str) -> dict[str, Any]:
        repeats, folder = self.size.mean_repeats, self.work / "phantoms"
        scans, pixel_mm = phantom_scan(
            REPEATS_SEED, kernel, (FULL,), folder, size=self.size.pixels, slices=2, repeats=repeats
        )
        return against_truth(scans["truth"], scans["1"], _stack(denoiser, scans["1"], pixel_mm), pixel_mm, repeats)

    def inserts(self, denoiser: Denoiser) -> dict[str, dict[str, Any]]:
        """{kernel class: {"edges", "texture full", "texture quarter"}} of a water cylinder with inserts.

        edges, at full dose: {"input", strength: `edges`}; the input's edges are measured on the noise-free scan, the
        limit of the mean of many scans.
        """
        return self._by_kernel("cylinder", f"{self.size.mean_repeats} {len(STRENGTHS)}", denoiser, self._inserts)

    def _inserts(self, denoiser: Denoiser, kernel: str) -> dict[str, Any]:
        repeats, size = self.size.mean_repeats, self.size.pixels
        body, inserts = cylinder_with_inserts(slices=repeats, size=size, pixel_mm=0.7 * 512 / size)
        path = self.work / "phantoms" / f"inserts-{kernel}-{size}-{repeats}.npz"
        scans, pixel_mm = scanned(lambda: body, kernel, (FULL, QUARTER), path, seed=1)
        middle, reach = size // 2, int(40 / pixel_mm)  # the water within the ring of inserts
        part = (slice(None), slice(middle - reach, middle + reach), slice(middle - reach, middle + reach))
        found: dict[str, Any] = {}
        for name, dose in (("full", "1"), ("quarter", "0.25")):
            before, after = scans[dose], _stack(denoiser, scans[dose], pixel_mm)
            noise = [
                soft_patches(repeated_noise(stack, repeats)[part], scans["truth"][part]) for stack in (before, after)
            ]
            found[f"texture {name}"] = texture(noise[0], noise[1], pixel_mm) if len(noise[0]) else None
            if dose == "1":
                mean = scans["truth"][:1].astype(np.float32)
                images = {f"{s:g}": mean + s * (after.mean(0, keepdims=True) - mean) for s in STRENGTHS}
                found["edges"] = {
                    name: edges(image, inserts, pixel_mm) for name, image in {"input": mean, **images}.items()
                }
        return found

    def seconds(self, denoiser: Denoiser) -> float:
        """CPU seconds for one slice of 512 × 512 pixels, the minimum of several runs; wall time depends on other
        load.
        """
        key = f"seconds {denoiser.identity} {self.size.pixels} {self.size.timing_runs}"
        return self.store.get(key, partial(self._seconds, denoiser))

    def _seconds(self, denoiser: Denoiser) -> float:
        case = self.phantoms(self.size.seeds[:1])[-1]
        denoiser(case.image(QUARTER))  # the first call loads and compiles
        found = []
        for _ in range(self.size.timing_runs):
            image = case.image(QUARTER)
            start = time.process_time()
            denoiser(image)
            found.append(time.process_time() - start)
        return min(found)


def _stack(denoiser: Denoiser, stack: NDArray[np.int16], pixel_mm: float) -> NDArray:
    return np.stack([denoiser(Image(hu, pixel_mm)) for hu in stack])


def _where(case: Case) -> dict[str, Any]:
    return {
        "case": case.key,
        "patient": case.patient,
        "region": case.region,
        "sharpness": case.sharpness,
        "seen": case.seen,
    }
