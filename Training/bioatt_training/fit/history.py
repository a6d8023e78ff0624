"""Reports of a run: metrics.csv, identical whether interrupted or not, and progress on stderr."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

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
    """Keeps the rows in the checkpoint and rewrites the file after each validation.

    train_loss is the mean since the previous row; `more` adds columns to the validation columns of `Experiment`.
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
        """Write the epoch's row."""
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
        """Rows so far, and the loss since the last."""
        return {"rows": self.rows, "loss": self.loss, "batches": self.batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state."""
        self.rows, self.loss, self.batches = state["rows"], state["loss"], state["batches"]


class Progress(callbacks.Callback):
    """A progress bar over the run's steps on a terminal, and a line per epoch, in the first process only."""

    def __init__(self, epoch_steps: int) -> None:
        self.epoch_steps, self.bar = epoch_steps, tqdm(disable=True)

    def on_train_start(self, trainer: Any, _: Any) -> None:
        """Start at the run's current step."""
        silent = None if trainer.is_global_zero else True  # None: only on a terminal
        self.bar = tqdm(total=trainer.max_steps, initial=trainer.global_step, unit="step", disable=silent)

    def on_train_batch_end(self, *_: Any) -> None:
        """Count one step."""
        self.bar.update()

    def on_validation_end(self, trainer: Any, _: Any) -> None:
        """Print the epoch's metrics."""
        if trainer.is_global_zero:
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
            tqdm.write(
                f"epoch {trainer.global_step // self.epoch_steps}, step {trainer.global_step}: "
                f"validation loss {metrics['val_loss']:.4g}, {metrics['val_rmse_hu']:.2f} HU "
                f"(low dose {metrics['val_input_rmse_hu']:.2f} HU), "
                f"PSNR {metrics['val_psnr']:.2f} dB, SSIM {metrics['val_ssim']:.4f}",
                file=sys.stderr,
            )

    def on_exception(self, *_: Any) -> None:
        """Close the bar."""
        self.bar.close()

    def on_train_end(self, *_: Any) -> None:
        """Close the bar."""
        self.bar.close()


def read_history(folder: Path) -> list[dict[str, float]]:
    """The rows of a run's metrics.csv by column name."""
    with (folder / FILE).open(newline="") as stream:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]
