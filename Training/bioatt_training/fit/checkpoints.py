"""Checkpoints that let a run killed at any moment resume with identical results."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import torch

from bioatt_training.fit.config import Config
from bioatt_training.fit.lightning_import import TorchCheckpointIO, callbacks, lightning

LAST, BEST = "last.ckpt", "best.ckpt"


def epoch_checkpoint(epoch: int) -> str:
    """File name of the checkpoint kept for an epoch."""
    return f"epoch-{epoch:03d}.ckpt"


class WholeFiles(TorchCheckpointIO):
    """Atomic checkpoints: written next to the target, then renamed.

    Lightning writes its own to the system's temporary folder, which may be on another disk; the move is then a copy,
    which a kill leaves incomplete.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as stream:
            torch.save(checkpoint, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)


class Checkpoints(callbacks.Checkpoint):
    """Callbacks for the checkpoint to export, those of the epochs to keep, and the last, in that order.

    The last is written after the others and records their state: a run killed in between repeats the validation with
    the same result. If both are due, it is written after the validation, so that resuming does not skip one.
    """

    def __init__(self, config: Config, folder: Path, epoch_steps: int) -> None:
        self.monitor, self.kept = config.optimiser.monitor, config.run.keep_epochs
        self.folder, self.epoch_steps, self.save_every = folder, epoch_steps, config.run.save_every
        self.always = config.run.export == "last"
        self.best = math.inf

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """Checkpoint within an epoch."""
        step = trainer.global_step
        if self.save_every and step % self.save_every == 0 and step % self.epoch_steps:
            trainer.save_checkpoint(self.folder / LAST)

    def on_validation_end(self, trainer: Any, _: Any) -> None:
        """Checkpoints of an epoch."""
        epoch = trainer.global_step // self.epoch_steps
        score = float(trainer.callback_metrics[self.monitor])
        if score < self.best or (self.always and math.isfinite(score)):
            self.best = score
            trainer.save_checkpoint(self.folder / BEST)
        if epoch in self.kept:
            trainer.save_checkpoint(self.folder / epoch_checkpoint(epoch))
        trainer.save_checkpoint(self.folder / LAST)

    def state_dict(self) -> dict[str, float]:
        """The lowest monitored value so far."""
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore the state."""
        self.best = state["best"]


class Patience(callbacks.EarlyStopping):
    """Early stopping that survives resuming: a run killed after its last validation does not continue to train."""

    def on_train_start(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        """Stop if the checkpoint had already reached the limit."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience
