"""Progress of a run on stderr: a bar on a terminal, and one line per epoch."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

from bioatt_training.fit.lightning_import import callbacks


class Progress(callbacks.Callback):
    """Steps of the whole run with the remaining time, in the first process only."""

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
