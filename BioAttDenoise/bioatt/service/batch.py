"""Batches: denoise many scans and report on them; repeating an interrupted call resumes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bioatt.core.errors import InputError
from bioatt.io.files import check_folder, make_folder
from bioatt.service.finding import Found, Series, find_series
from bioatt.service.results import index_of
from bioatt.service.rules import EVERY_SCAN, Rule
from bioatt.service.studies import DONE, FAILED, Outcome
from bioatt.service.workers import Job, devices_for, run_locally

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Batch:
    """Outcomes of a batch's scans, by name. out: the folder of their results."""

    found: Found
    out: Path
    outcomes: list[Outcome]
    seconds: float

    @property
    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.status == FAILED]


@dataclass(frozen=True)
class Told:
    """Progress of a batch.

    outcome: of the scan that has just finished, else None. number, count: finished scans and all scans. fraction: share
    of the bytes done, 0 to 1. eta_s: time left, None if unknown.
    """

    outcome: Outcome | None
    number: int
    count: int
    fraction: float
    eta_s: float | None


def run_batch(
    source: Path,
    out: Path,
    rules: tuple[Rule, ...] = EVERY_SCAN,
    *,
    engine: str = "local",
    device: str = "auto",
    workers: int | None = None,
    told: Callable[[Told], None] = lambda told: None,
) -> Batch:
    """Denoise all scans that `find_series` finds in `source` into `out`, each with `denoise_series`.

    engine: one of ENGINES. workers: number of scans in parallel, by default one per GPU, or one on the CPU. told:
    called after each scan and, except with Ray, several times a second; an exception from it ends the batch. Raises
    InputError if the folders, the rules' models or the device cannot be used.
    """
    started = time.monotonic()
    source, out = source.absolute(), out.absolute()  # Ray's processes may have a different working directory
    _check_places(source, out)
    found = find_series(source)
    _check_models(rules)
    devices = devices_for(device, workers)
    job = Job(rules, out, index_of(out))
    progress = _ProgressReport(found.series, told)
    if engine == "ray":
        from bioatt.service.on_ray import run_on_ray

        running = run_on_ray(found.series, job, devices)
    else:
        running = run_locally(found.series, job, devices, progress.working)
    with closing(running):
        for outcome in running:
            progress.ended(outcome)
    outcomes = sorted(progress.outcomes, key=lambda outcome: outcome.name)
    return Batch(found, out, outcomes, time.monotonic() - started)


class _ProgressReport:
    """Reports the progress of a batch, by the bytes of its scans."""

    def __init__(self, series: list[Series], told: Callable[[Told], None]) -> None:
        self.told, self.begun = told, time.monotonic()
        self.sizes = {one.name: one.size for one in series}
        self.all = self.left = sum(self.sizes.values())
        self.denoised = 0
        self.outcomes: list[Outcome] = []

    def ended(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.left -= self.sizes[outcome.name]
        self.denoised += self.sizes[outcome.name] if outcome.status == DONE else 0
        self._report(outcome, 0)

    def working(self, parts: Mapping[str, float]) -> None:
        self._report(None, sum(self.sizes[name] * part for name, part in parts.items()))

    def _report(self, outcome: Outcome | None, in_work: float) -> None:
        left, denoised = self.left - in_work, self.denoised + in_work
        eta_s = (time.monotonic() - self.begun) * left / denoised if denoised else None
        fraction = 1 - left / self.all if self.all else 1.0
        self.told(Told(outcome, len(self.outcomes), len(self.sizes), fraction, eta_s))


def _check_places(source: Path, out: Path) -> None:
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise InputError(
            f"{out.name or out} is inside the input, so results would be taken for scans: name another folder"
        )
    if out.exists() and not out.is_dir():
        raise InputError(f"{out.name} is a file: name a folder for the results")
    make_folder(out)
    check_folder(out)


def _check_models(rules: tuple[Rule, ...]) -> None:
    """Raise InputError, before the work, if a rule's model cannot be loaded."""
    from bioatt.inference.models import load_model

    for model in {rule.model for rule in rules} - {"auto"}:
        load_model(model)
