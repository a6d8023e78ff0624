"""The optimiser of a configuration and the course of its learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR, ReduceLROnPlateau

from bioatt_training.fit.config import OptimiserConfig

WARM_UP = 0.1
"""Share of a one-cycle run in which the learning rate rises."""


def build_optimiser(
    config: OptimiserConfig, parameters: Iterable[nn.Parameter], *, fused: bool | None = None
) -> Optimizer:
    """AdamW with momentum for one-cycle's course, or the paper's Adam with its defaults. fused: as torch's."""
    if config.algorithm == "adam":
        return Adam(parameters, lr=config.learning_rate, fused=fused)
    return AdamW(parameters, lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay, fused=fused)


def build_schedule(config: OptimiserConfig, optimiser: Optimizer, steps: int, epoch_steps: int) -> Any:
    """Course of the learning rate over `steps`, stepped each step; a ReduceLROnPlateau, stepped each epoch."""
    if config.schedule == "one_cycle":
        return OneCycleLR(optimiser, max_lr=config.learning_rate, total_steps=steps, pct_start=WARM_UP)
    if config.schedule == "cosine":
        return CosineAnnealingLR(optimiser, T_max=steps, eta_min=config.minimum_learning_rate)
    if config.schedule == "plateau":
        return ReduceLROnPlateau(
            optimiser, factor=0.5, patience=config.plateau_patience, min_lr=config.minimum_learning_rate
        )
    return LambdaLR(optimiser, _halving(config, epoch_steps) if config.schedule == "halving" else lambda _: 1.0)


def _halving(config: OptimiserConfig, epoch_steps: int) -> Callable[[int], float]:
    """The paper's: halved every `halve_every` epochs, not below the minimum (§3.1)."""
    least = config.minimum_learning_rate / config.learning_rate

    def factor(step: int) -> float:
        return max(0.5 ** (step // (epoch_steps * config.halve_every)), least)

    return factor
