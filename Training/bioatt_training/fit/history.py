"""metrics.csv: one line per epoch, the same for interrupted and uninterrupted runs."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import torch

from bioatt.io.files import atomic_write
from bioatt_training.fit.lightning_import import callbacks

FILE = "metrics.csv"
COLUMNS = (
    "epoch",
    "step",
    "learning_rate",
    "train_loss",
    "val_loss",
    "val_rmse",
    "val_psnr",
    "val_ssim",
    "val_rmse_hu",
    "val_input_rmse_hu",
    "val_relative",
)


class History(callbacks.Callback):
    """Keeps the lines in the checkpoint and rewrites the file after each validation.

    train_loss is the mean since the line before; the validation's columns are `Experiment`'s, `more` another's.
    """

    def __init__(self, folder: Path, epoch_steps: int, more: tuple[str, ...] = ()) -> None:
        self.folder, self.epoch_steps, self.columns = folder, epoch_steps, (*COLUMNS, *more)
        self.rows: list[list[float]] = []
        self.loss = torch.zeros(())
        self.batches = 0

    def on_train_batch_end(self, _: Any, __: Any, outputs: Any, *___: Any) -> None:
        """Add a batch's loss on its device: reading the value would block."""
        loss = outputs["loss"].detach()
        self.loss = self.loss.to(loss.device) + (loss if loss.device.type == "mps" else loss.double())
        self.batches += 1

    def on_validation_end(self, trainer: Any, _: Any) -> None:
        """Write the epoch's line."""
        step = trainer.global_step
        train_loss = trainer.strategy.reduce(self.loss / max(self.batches, 1), reduce_op="mean")
        known = {
            "epoch": step // self.epoch_steps,
            "step": step,
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "train_loss": float(train_loss),
        }
        metrics = trainer.callback_metrics
        self.rows.append([known[name] if name in known else float(metrics[name]) for name in self.columns])
        self.loss, self.batches = torch.zeros_like(self.loss), 0
        if trainer.is_global_zero:
            with atomic_write(self.folder / FILE) as partial, partial.open("w", newline="") as stream:
                csv.writer(stream).writerows([self.columns, *self.rows])

    def state_dict(self) -> dict[str, Any]:
        """Lines so far, and the loss since the last."""
        return {"rows": self.rows, "loss": self.loss, "batches": self.batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state."""
        self.rows, self.loss, self.batches = state["rows"], state["loss"], state["batches"]


def read_history(folder: Path) -> list[dict[str, float]]:
    """The lines of a run's metrics.csv by column name."""
    with (folder / FILE).open(newline="") as stream:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]
