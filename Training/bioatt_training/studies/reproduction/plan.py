"""Size of the runs of a reproduction: the paper's size, or what fits into a number of minutes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from bioatt.core.errors import InputError
from bioatt.io.files import atomic_write
from bioatt_training.data.bank import Bank
from bioatt_training.data.split import PARTS
from bioatt_training.evaluation.judge import Judgement
from bioatt_training.fit.arms import ARMS, ArmName
from bioatt_training.fit.config import Config, DataConfig, NetworkConfig, OptimiserConfig, RunConfig
from bioatt_training.fit.grid import grid_corners
from bioatt_training.studies.reproduction.cost import Costs

BATCH = 16
PAPER_EPOCHS = (1, 5, 10, 20)
"""Epochs that the paper shows (figures 5–7 and 9)."""
EPOCHS, MOST_EPOCHS = 10, 30
LEARNING_RATE = 2e-3
"""The largest stable value of 0.5, 1, 2 and 4 · 10⁻³: 300 steps at 16 filters validate 7 % better than at 1e-3."""
EVALUATION_SHARE, VALIDATION_SHARE, RESERVE = 0.2, 0.1, 0.12
"""Fractions of a budget: for evaluation, for validation (of the training), and as reserve."""


@dataclass(frozen=True)
class Contents:
    """Contents of a bank on the paper's grid: training slices and their patches, validation patches, test slices."""

    train_slices: int
    train_patches: int
    validation_patches: int
    test_slices: tuple[int, ...]

    @classmethod
    def of(cls, bank: Bank) -> Contents:
        """Count. Raises InputError if a part has none."""
        counts = {part: [len(grid_corners(bank.slices[i].shape)) for i in bank.indices(part)] for part in PARTS}
        for part, cells in counts.items():
            if not sum(cells):
                raise InputError(
                    f"the bank has no {part} patches: create it with more patients, or slices of at least 55 px"
                )
        patients = [bank.slices[index].patient for index in bank.indices("test")]
        slices = tuple(patients.count(name) for name in sorted(set(patients)))
        return cls(sum(c > 0 for c in counts["train"]), sum(counts["train"]), sum(counts["validation"]), slices)

    @property
    def cells(self) -> float:
        """Mean number of patches of a training slice."""
        return self.train_patches / self.train_slices


@dataclass(frozen=True)
class Size:
    """Settings shared by all runs of a reproduction.

    recipe: "paper", as in §3.1; or "budget": one cycle up to a learning rate of 2e-3, since the paper's 1e-5 hardly
    moves the weights in so few steps. epoch_patches: patches per epoch, the same for all arms of a seed; 0: all, three
    times. epoch_slices: slices per epoch of the arm "whole", with about as many pixels. per_patient: maximum test
    slices per patient; None: all.
    """

    recipe: str
    filters: int
    epochs: int
    epoch_patches: int
    epoch_slices: int
    validation_patches: int
    per_patient: int | None

    @property
    def judgement(self) -> Judgement:
        """Evaluation settings of the runs' models: the prior comes from the low dose, the only one available in
        practice.
        """
        return Judgement(part="test", per_patient=self.per_patient, prior="maps")

    @property
    def kept_epochs(self) -> tuple[int, ...]:
        """Epochs whose models are kept: the first, the paper's, and the last."""
        return tuple(sorted({epoch for epoch in PAPER_EPOCHS if epoch <= self.epochs} | {self.epochs}))

    def config(self, bank: Path, arm: ArmName, seed: int) -> Config:
        """The training configuration of one run: the same data and the same recipe for every arm."""
        paper = self.recipe == "paper"
        whole = ARMS[arm].whole
        return Config(
            RunConfig(
                arm,
                "0",
                seed=seed,
                keep_epochs=self.kept_epochs,
                ema_decay=0.0,
                save_every=200,
                precision="32-true" if paper else "auto",
            ),
            NetworkConfig(arm, filters=self.filters),
            OptimiserConfig(
                epochs=self.epochs,
                algorithm="adam",
                learning_rate=1e-5 if paper else LEARNING_RATE,
                schedule="halving" if paper else "one_cycle",
                minimum_learning_rate=1e-10 if paper else 0.0,
                early_stop=7 if paper else 0,
                monitor="val_loss",
                gradient_clip=0.0 if paper else 1.0,
                loss="mse",
                margin=0,
            ),
            DataConfig(
                str(bank),
                sampling="whole" if whole else "grid",
                batch=1 if whole else BATCH,
                validation_patches=self.validation_patches,
                epoch_patches=self.epoch_slices if whole else self.epoch_patches,
                repeats=3,
            ),
        )


def paper_size(filters: int) -> Size:
    """The paper's size: all patches in three orientations, early stopping, at most 30 epochs."""
    return Size("paper", filters, MOST_EPOCHS, 0, 0, 0, None)


def budget_size(
    minutes: float, costs: Costs, arms: Sequence[ArmName], seeds: int, bank: Contents, filters: int
) -> Size:
    """The largest size whose consecutive runs take `minutes`.

    Test slices get up to a fifth of the time; the rest is training in ten epochs, a tenth of it validation. If time
    remains after using all patches, the number of epochs increases, up to 30.
    """
    runs = len(arms) * seeds
    seconds = 60 * minutes * (1 - RESERVE) - runs * costs.start_s
    affordable = EVALUATION_SHARE * seconds / (runs * costs.slice_s)
    per_patient = 1
    while per_patient < max(bank.test_slices) and _slices(bank, per_patient + 1) <= affordable:
        per_patient += 1
    training = seconds - runs * costs.slice_s * _slices(bank, per_patient)
    # an epoch of the arm "whole" has as many pixels in fewer, larger steps
    per_step = sum(costs.step_s[arm] * (BATCH / bank.cells if ARMS[arm].whole else 1) for arm in arms) / len(arms)
    steps = max(training / runs * (1 - VALIDATION_SHARE) / per_step, 1)
    epochs = min(EPOCHS, max(int(steps), 1))
    epoch_patches = max(int(steps / epochs), 1) * BATCH
    if epoch_patches > bank.train_patches >= BATCH:
        epochs = min(MOST_EPOCHS, int(steps * BATCH / bank.train_patches))
        epoch_patches = bank.train_patches // BATCH * BATCH
    validation = int(training / runs * VALIDATION_SHARE / epochs / costs.validation_s)
    return Size(
        recipe="budget",
        filters=filters,
        epochs=epochs,
        epoch_patches=epoch_patches,
        epoch_slices=max(round(epoch_patches / bank.cells), 1),
        validation_patches=min(max(validation, BATCH), bank.validation_patches),
        per_patient=per_patient,
    )


def _slices(bank: Contents, per_patient: int) -> int:
    return sum(min(count, per_patient) for count in bank.test_slices)


def write_plan(folder: Path, bank: Bank, size: Size, minutes: float | None, costs: Costs | None) -> None:
    """Store the size and the basis for its choice, for calls after an interruption."""
    said = {
        "bank": bank.identity,
        "size": asdict(size),
        "minutes": minutes,
        "costs": asdict(costs) if costs else None,
    }
    with atomic_write(folder / "plan.json") as partial:
        partial.write_text(json.dumps(said, indent=1), encoding="utf-8")


def read_plan(folder: Path, bank: Bank, filters: int, minutes: float | None) -> Size | None:
    """Size of an earlier call, or None. Raises InputError for other data, width or minutes."""
    path = folder / "plan.json"
    if not path.is_file():
        return None
    said: Mapping = json.loads(path.read_text(encoding="utf-8"))
    if said.get("bank", bank.identity) != bank.identity:
        raise InputError(f"{folder.name} holds runs of other data: use the same data, or give a new folder")
    size = Size(**{field.name: said["size"][field.name] for field in fields(Size)})
    if size.filters != filters:
        raise InputError(
            f"{folder.name} holds runs with {size.filters} filters: use the same number, or give a new folder"
        )
    if said["minutes"] != minutes:
        planned = f"planned for {said['minutes']:g} minutes" if said["minutes"] else "of the paper's size"
        raise InputError(f"{folder.name} holds runs {planned}: use the same setting, or give a new folder")
    return size
