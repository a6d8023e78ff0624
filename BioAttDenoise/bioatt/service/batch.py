"""Many scans to their results and a report; the same call again goes on where it was interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bioatt.core.errors import InputError
from bioatt.io.files import check_folder, make_folder
from bioatt.service.finding import Found, find_series
from bioatt.service.results import index_of
from bioatt.service.rules import EVERY_SCAN, Rule
from bioatt.service.studies import DONE, FAILED, Outcome
from bioatt.service.workers import Job, devices_for, run_locally

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Batch:
    """What became of the scans of a batch, by name. out: the folder of their results."""

    found: Found
    out: Path
    outcomes: list[Outcome]
    seconds: float

    @property
    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.status == FAILED]


@dataclass(frozen=True)
class Told:
    """After a scan: what became of it, how many of all have ended, and the time left (None while nobody knows)."""

    outcome: Outcome
    number: int
    count: int
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
    """Denoise all scans that `find_series` finds in `source` into `out`, each as `denoise_series` does.

    engine: of ENGINES. workers: how many scans at a time, by default one a GPU, or one on the CPU. told: called after
    each scan. Raises InputError where the folders, the rules' models or the device cannot be used.
    """
    started = time.monotonic()
    source, out = source.absolute(), out.absolute()  # Ray's processes may have another current folder
    _check_places(source, out)
    found = find_series(source)
    _check_models(rules)
    devices = devices_for(device, workers)
    job = Job(rules, out, index_of(out))
    if engine == "ray":
        from bioatt.service.on_ray import run_on_ray as run
    else:
        run = run_locally
    sizes = {series.name: series.size for series in found.series}
    begun, left, worked = time.monotonic(), sum(sizes.values()), 0
    outcomes = []
    for number, outcome in enumerate(run(found.series, job, devices), start=1):
        outcomes.append(outcome)
        left -= sizes[outcome.name]
        worked += sizes[outcome.name] if outcome.status == DONE else 0
        eta_s = (time.monotonic() - begun) * left / worked if worked else None
        told(Told(outcome, number, len(found.series), eta_s))
    outcomes.sort(key=lambda outcome: outcome.name)
    return Batch(found, out, outcomes, time.monotonic() - started)


def _check_places(source: Path, out: Path) -> None:
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise InputError(f"{out.name or out} lies in the input, where results would be taken for scans: name another")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out.name} is a file: name a folder for the results")
    make_folder(out)
    check_folder(out)


def _check_models(rules: tuple[Rule, ...]) -> None:
    """Raise InputError before the work where a rule's model cannot be loaded."""
    from bioatt.inference.models import load_model

    for model in {rule.model for rule in rules} - {"auto"}:
        load_model(model)
