"""Training and validation steps as a Lightning module."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from bioatt.core.hu import SCALE_HU
from bioatt_training.fit.arms import arm_network
from bioatt_training.fit.config import Config
from bioatt_training.fit.grid import cells
from bioatt_training.fit.lightning_import import lightning
from bioatt_training.fit.objectives import LOSSES, interior, paper_metrics, relative_mse
from bioatt_training.fit.schedule import build_optimiser, build_schedule

Batch = tuple[Tensor, Tensor, Tensor]
"""Low dose in the network's input format, target (B, 1, H, W), standardised HU, and the prior p (B, N)."""


class Experiment(lightning.LightningModule):
    """Trains `network` to map low dose to target, and validates it on held-out patients.

    Logged each step: train_loss. Each epoch, over the patches' interior: val_loss; val_rmse, val_psnr, val_ssim (see
    `paper_metrics`; whole slices are cut into the paper's grid for them); val_rmse_hu, and val_input_rmse_hu of the low
    dose, pooled over all pixels; val_relative (see `relative_mse`).
    """

    def __init__(self, config: Config, descriptors: int, steps: int, epoch_steps: int) -> None:
        super().__init__()
        self.config, self.steps, self.epoch_steps = config, steps, epoch_steps
        self.network = arm_network(config.network, descriptors)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss = LOSSES[config.optimiser.loss]
        self._sums: dict[str, list[Tensor]] = {}

    def forward(self, low: Tensor, p: Tensor) -> Tensor:
        """Denoised patches (B, 1, H, W)."""
        return self.network(low, p)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss on the interior of one batch."""
        self._draw_by_number(0, self.global_step)
        loss = self.loss(*self._interiors(batch))
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, number: int) -> None:
        """Metrics of one batch, weighted by its number of patches."""
        self._draw_by_number(1, number)
        self._measure(*self._interiors(batch))

    def _measure(self, output: Tensor, target: Tensor, low: Tensor) -> None:
        """Add one batch's metrics."""
        values = {
            "loss": self.loss(output, target, low),
            "relative": relative_mse(output, target, low),
            "mse_hu2": torch.mean((output - target) ** 2) * SCALE_HU**2,
            "input_mse_hu2": torch.mean((low - target) ** 2) * SCALE_HU**2,
        }
        patches = [output, target]
        if self.config.data.sampling == "whole":
            patches = [cells(image) for image in patches]
        self._add(values, output.shape[0])
        self._add(paper_metrics(*patches), patches[0].shape[0])

    def on_validation_epoch_end(self) -> None:
        """Log means over all processes' patches and roots of the pooled squared errors; step the plateau schedule.

        Lightning's own mean over processes rounds the number of patches.
        """
        sums = torch.stack([torch.stack(parts).cpu().double().sum(dim=0) for parts in self._sums.values()])
        sums = self.trainer.strategy.reduce(sums.float().to(self.device), reduce_op="sum")
        means = dict(zip(self._sums, (sums[:, 0] / sums[:, 1]).unbind(), strict=True))
        self._sums = {}
        for name in ("val", "val_input"):
            means[f"{name}_rmse_hu"] = means.pop(f"{name}_mse_hu2").sqrt()
        self._conclude(means)
        self.log_dict(means, sync_dist=True)
        if self.config.optimiser.schedule == "plateau":
            plateau = self.lr_schedulers()
            assert isinstance(plateau, ReduceLROnPlateau)
            plateau.step(means["val_loss"])

    def configure_optimizers(self) -> Any:
        """The configuration's optimiser and schedule."""
        optimiser = build_optimiser(self.config.optimiser, self._trained())
        schedule = build_schedule(self.config.optimiser, optimiser, self.steps, self.epoch_steps)
        # The trainer's epoch is the whole run, so this module steps the plateau schedule, before the checkpoint.
        plateau = self.config.optimiser.schedule == "plateau"
        course = {"scheduler": schedule, "interval": "epoch" if plateau else "step", "monitor": "val_loss"}
        return {"optimizer": optimiser, "lr_scheduler": course}

    def _trained(self) -> Any:
        """The optimiser's parameters, or groups of them."""
        return self.parameters()

    def _interiors(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Output, target and low dose without the margin."""
        low, target, p = batch
        output = self(low, p).float()
        margin = self.config.optimiser.margin
        return interior(output, margin), interior(target, margin), interior(low[:, :1], margin)

    def _draw_by_number(self, phase: int, number: int) -> None:
        """Seed the random arm by phase, number and process, so that a resumed run draws the same values."""
        if self.network.weighting == "random":
            words = [self.config.run.seed, phase, number, self.global_rank]
            torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1)[0]))

    def _conclude(self, means: dict[str, Tensor]) -> None:
        """Hook for subclasses: add metrics derived from the validation means."""

    def _add(self, values: dict[str, Tensor], size: int) -> None:
        for name, value in values.items():
            part = torch.stack([value.detach() * size, value.new_tensor(size)])
            self._sums.setdefault(f"val_{name}", []).append(part)
