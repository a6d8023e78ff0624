"""One training run as Lightning sees it: the network, its loss, its optimiser, and what validation measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bioatt.models import SCALE_HU
from bioatt.network import Arm, Weighting, build_network
from bioatt_training.cured_lightning import lightning
from bioatt_training.objectives import LOSSES, interior, relative_mse

Batch = tuple[Tensor, Tensor, Tensor]
"""Low dose and target (B, 1, H, W), standardised HU, and the prior p (B, N)."""


@dataclass(frozen=True)
class NetworkConfig:
    """Which network of Table 1 to train, how wide, and in what blocks of pixels."""

    arm: Arm = "bioatt"
    filters: int = 96
    weighting: Weighting = "anatomical"
    unshuffle: int = 1


@dataclass(frozen=True)
class OptimiserConfig:
    """AdamW under a one-cycle learning rate (Smith 2018). margin: border pixels left out of the loss."""

    steps: int = 10_000
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    loss: str = "mse"
    margin: int = 20


class Experiment(lightning.LightningModule):
    """Trains `network` to turn low into target; logs the loss, and in validation RMSE in HU over the interior."""

    def __init__(self, network: NetworkConfig, optimiser: OptimiserConfig, descriptors: int) -> None:
        super().__init__()
        self.config = optimiser
        self.network = build_network(
            network.arm, network.filters, descriptors, network.weighting, network.unshuffle
        ).to(
            memory_format=torch.channels_last  # type: ignore[call-overload]
        )
        self.loss = LOSSES[optimiser.loss]

    def forward(self, low: Tensor, p: Tensor) -> Tensor:
        """Denoised patches (B, 1, H, W)."""
        return self.network(low, p)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss on the interior of one batch."""
        low, target, p = batch
        output = self(low, p).float()
        loss = self.loss(*(interior(image, self.config.margin) for image in (output, target, low)))
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        """RMSE in HU against the target, beside the input's own."""
        low, target, p = batch
        output = self(low, p).float()
        inner = [interior(image, self.config.margin) * SCALE_HU for image in (low, target, output)]
        size = low.shape[0]
        self.log("val_mse_hu2", torch.mean((inner[2] - inner[1]) ** 2), on_epoch=True, batch_size=size)
        self.log("val_relative", relative_mse(inner[2], inner[1], inner[0], floor=2.0), on_epoch=True, batch_size=size)
        self.log("val_input_mse_hu2", torch.mean((inner[0] - inner[1]) ** 2), on_epoch=True, batch_size=size)

    def on_validation_epoch_end(self) -> None:
        """Roots of the pooled squared errors."""
        for name in ("val", "val_input"):
            squared = self.trainer.callback_metrics[f"{name}_mse_hu2"]
            self.log(f"{name}_rmse_hu", squared.sqrt(), prog_bar=True)

    def configure_optimizers(self) -> Any:
        """AdamW and the one-cycle schedule, stepped every batch."""
        config = self.config
        optimiser = torch.optim.AdamW(
            self.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, max_lr=config.learning_rate, total_steps=config.steps, pct_start=0.1
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
