"""Run all arms and seeds one after another, with a report after each; resumes after an interruption."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from bioatt.core.errors import InputError
from bioatt.io.files import make_folder
from bioatt_training.data.bank import Bank
from bioatt_training.fit.arms import ARMS, ArmName
from bioatt_training.studies.reproduction import cost, training_run
from bioatt_training.studies.reproduction.plan import Contents, Size, budget_size, paper_size, read_plan, write_plan
from bioatt_training.studies.reproduction.report import Setting, write_report
from bioatt_training.studies.reproduction.results import Key, Results, Run
from bioatt_training.studies.reproduction.subprocess_run import RunError, run_in_subprocess

LOG = "log.txt"


@dataclass(frozen=True)
class Wish:
    """What to reproduce. minutes: the budget for all runs; None: the paper's size. command: shown in the report."""

    arms: tuple[ArmName, ...] = tuple(ARMS)
    seeds: int = 3
    filters: int = 96
    minutes: float | None = None
    command: str = ""
    machine: str = ""

    def __post_init__(self) -> None:
        unknown = [arm for arm in self.arms if arm not in ARMS]
        if unknown or not self.arms:
            raise InputError(f"unknown arm {', '.join(unknown)!r}: choose from {', '.join(ARMS)}")
        if self.seeds < 1 or self.filters < 1:
            raise InputError("seeds and filters must be 1 or more")
        if self.minutes is not None and not self.minutes > 0:
            raise InputError(f"a budget of {self.minutes:g} minutes is too short: give more")


def reproduce(
    bank_folder: Path, folder: Path, wish: Wish, report: Path, *, say: Callable[[str], None] = lambda _: None
) -> Results:
    """Run what is missing in `folder`, seed by seed, and write the report after every run.

    A failing run is reported and the others continue; a later call retries it. Sizes are chosen at the first call and
    kept. Raises InputError for a bank without test patients, for a folder of runs with other data, width or budget, and
    if a file has a folder's name.
    """
    bank = Bank(bank_folder)
    contents = Contents.of(bank)
    make_folder(folder)
    size = read_plan(folder, bank, wish.filters, wish.minutes)
    make_folder(report)  # before the runs, as the first report takes hours
    size = size or _plan(bank_folder, bank, contents, folder, wish, say)
    say(
        f"{size.filters} filters; {size.epochs} epochs of {size.epoch_patches or 'all'} patches; "
        f"{size.per_patient or 'all'} test slices per patient"
    )
    setting = Setting(size, wish.minutes, len(wish.arms) * wish.seeds, wish.command, bank, wish.machine)
    runs: dict[Key, Run] = {}
    failures: dict[Key, str] = {}
    for seed, arm in [(seed, arm) for seed in range(1, wish.seeds + 1) for arm in wish.arms]:
        place = _place(folder, arm, seed)
        run = Run.read(place)
        if run is None:
            start = time.monotonic()
            try:
                _run(size, bank_folder, arm, seed, place)
            except RunError as error:
                failures[arm, seed] = str(error)
                say(f"{arm}, seed {seed}: failed ({error}); see {place.relative_to(folder.parent)}/{LOG}")
                write_report(Results(runs, failures), setting, _first_folders(runs, folder), report)
                continue
            run = Run.read(place)
            assert run is not None
            say(f"{arm}, seed {seed}: {_said(run)}, {time.monotonic() - start:.0f} s")
        runs[arm, seed] = run
        write_report(Results(runs, failures), setting, _first_folders(runs, folder), report)
    return Results(runs, failures)


def _place(folder: Path, arm: str, seed: int) -> Path:
    return folder / "runs" / f"seed-{seed}" / arm


def _run(size: Size, bank: Path, arm: ArmName, seed: int, place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    run_in_subprocess(training_run.execute, size.config(bank, arm, seed), place, size.judgement, log=place / LOG)


def _first_folders(runs: Iterable[Key], folder: Path) -> dict[str, Path]:
    """Folder of the lowest seed of each arm that has run."""
    return {arm: _place(folder, arm, seed) for arm, seed in sorted(runs, key=lambda key: -key[1])}


def _said(run: Run) -> str:
    protocol = run.evaluation["protocol"]
    return ", ".join(f"{name.upper()} {protocol[name]['mean']:.4f}" for name in ("rmse", "psnr", "ssim"))


def _plan(
    bank_folder: Path, bank: Bank, contents: Contents, folder: Path, wish: Wish, say: Callable[[str], None]
) -> Size:
    """Choose the size of the runs, by measurement if there is a budget, and store it."""
    if wish.minutes is None:
        size, costs = paper_size(wish.filters), None
    else:
        say("measuring the cost of a step …")
        start = time.monotonic()
        trial = Size(
            "budget", wish.filters, epochs=1, epoch_patches=0, epoch_slices=0, validation_patches=64, per_patient=1
        )
        costs = run_in_subprocess(
            cost.measure, [trial.config(bank_folder, arm, 1) for arm in wish.arms], log=folder / LOG
        )
        left = wish.minutes - (time.monotonic() - start) / 60
        size = budget_size(left, costs, wish.arms, wish.seeds, contents, wish.filters)
    write_plan(folder, bank, size, wish.minutes, costs)
    return size
