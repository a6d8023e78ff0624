"""Optimiser and learning-rate schedule of a configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR, ReduceLROnPlateau

from bioatt_training.fit.config import OptimiserConfig

WARM_UP = 0.1
"""Fraction of a one-cycle run in which the learning rate rises."""
WEIGHT_DECAY = 1e-4
"""Weight decay of AdamW."""


def build_optimiser(
    config: OptimiserConfig, parameters: Iterable[nn.Parameter] | list[dict[str, Any]], *, fused: bool | None = None
) -> Optimizer:
    """AdamW with the momentum of one-cycle schedules, or the paper's Adam with its defaults. fused: as torch's."""
    if config.algorithm == "adam":
        return Adam(parameters, lr=config.learning_rate, fused=fused)
    return AdamW(parameters, lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=WEIGHT_DECAY, fused=fused)


def build_schedule(config: OptimiserConfig, optimiser: Optimizer, steps: int, epoch_steps: int) -> Any:
    """Schedule over `steps`, stepped each step; for plateau a ReduceLROnPlateau, stepped each epoch."""
    if config.schedule == "one_cycle":
        highest = [group["lr"] for group in optimiser.param_groups]
        return OneCycleLR(optimiser, max_lr=highest, total_steps=steps, pct_start=WARM_UP)
    if config.schedule == "cosine":
        return CosineAnnealingLR(optimiser, T_max=steps, eta_min=config.minimum_learning_rate)
    if config.schedule == "plateau":
        return ReduceLROnPlateau(
            optimiser, factor=0.5, patience=config.plateau_patience, min_lr=config.minimum_learning_rate
        )
    return LambdaLR(optimiser, _halving(config, epoch_steps))


def _halving(config: OptimiserConfig, epoch_steps: int) -> Callable[[int], float]:
    """The paper's schedule: halved every `halve_every` epochs, down to the minimum (§3.1)."""
    least = config.minimum_learning_rate / config.learning_rate

    def factor(step: int) -> float:
        return max(0.5 ** (step // (epoch_steps * config.halve_every)), least)

    return factor
