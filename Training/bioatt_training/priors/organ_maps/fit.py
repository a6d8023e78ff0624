"""Fit the organ-map network: seeded step by step, so that a run that was stopped goes on as if it had not been."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bioatt.network.organ_maps import WIDTHS, OrganMapNetwork
from bioatt_training.priors.organ_maps.augmentation import augment
from bioatt_training.priors.organ_maps.data import OrganSlices
from bioatt_training.priors.organ_maps.objective import objective

LAST = "last.pt"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitConfig:
    """AdamW, a cosine of the learning rate after a warm-up, weights averaged over the last steps (EMA).

    outlined, weak, phantom: slices of each kind in a batch.
    """

    steps: int = 5200
    outlined: int = 7
    weak: int = 2
    phantom: int = 1
    learning_rate: float = 2e-3
    weight_decay: float = 0.03
    warm_up: int = 150
    averaging: float = 0.998
    widths: tuple[int, ...] = WIDTHS
    seed: int = 0
    save_every: int = 250


@dataclass(frozen=True)
class TrainingSets:
    """The three kinds of slices that a batch is drawn from."""

    outlined: OrganSlices
    weak: OrganSlices
    phantom: OrganSlices


class Fit:
    """A run in `folder`: network, its average, optimiser and step, found there where it was stopped before."""

    def __init__(self, sets: TrainingSets, config: FitConfig, folder: Path) -> None:
        torch.manual_seed(config.seed)
        self.sets, self.config, self.folder = sets, config, folder
        classes = sets.outlined.possible.shape[1]
        self.network = OrganMapNetwork(classes, config.widths)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch
        self.average = copy.deepcopy(self.network)
        self.optimiser = torch.optim.AdamW(_groups(self.network, config.weight_decay), config.learning_rate)
        self.step = 0
        self.chances = [torch.from_numpy(sampling_weights(part)) for part in (sets.outlined, sets.weak, sets.phantom)]
        if (folder / LAST).is_file():
            self._load()

    def run(self, report: Callable[[int, float], None] = lambda step, loss: None, until: int | None = None) -> None:
        """Go on to the last step; report(step, mean loss) and a checkpoint every `save_every` steps."""
        losses = []
        self.network.train()
        for step in range(self.step, min(self.config.steps, until or self.config.steps)):
            torch.manual_seed(1_000_003 * self.config.seed + step)
            losses.append(self._train_step(step))
            self.step = step + 1
            if self.step % self.config.save_every == 0 or self.step == self.config.steps:
                self.save()
                report(self.step, float(np.mean(losses)))
                losses = []

    def _train_step(self, step: int) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * rate(step, self.config)
        drawn = self._draw()
        batch = augment(drawn["images"], drawn["labels"])
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.network(batch.hu.contiguous(memory_format=torch.channels_last), batch.coordinates)
        known = drawn["present"] & drawn["sure"]
        loss = objective(logits.float(), batch, drawn["possible"], known, drawn["outlined"])
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
        self.optimiser.step()
        average_into(self.average, self.network, min(self.config.averaging, (step + 1) / (step + 10)))
        return loss.item()

    def _draw(self) -> dict[str, Tensor]:
        """A batch of slices of the three kinds, by the names of OrganSlices."""
        parts = (self.sets.outlined, self.sets.weak, self.sets.phantom)
        counts = (self.config.outlined, self.config.weak, self.config.phantom)
        rows = [
            torch.multinomial(chance, count, replacement=True).numpy()
            for chance, count in zip(self.chances, counts, strict=True)
        ]

        def taken(name: str) -> Tensor:
            values = [getattr(part, name)[chosen] for part, chosen in zip(parts, rows, strict=True)]
            return torch.from_numpy(np.concatenate(values))

        return {name: taken(name) for name in ("images", "labels", "possible", "present", "sure", "outlined")}

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "step": self.step,
            "config": asdict(self.config),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        partial = self.folder / f".{LAST}.partial"
        torch.save(state, partial)
        partial.replace(self.folder / LAST)

    def _load(self) -> None:
        state = torch.load(self.folder / LAST, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
        log.info("goes on at step %d", self.step)


def rate(step: int, config: FitConfig) -> float:
    """Share of the learning rate at a step."""
    if step < config.warm_up:
        return (step + 1) / config.warm_up
    done = (step - config.warm_up) / max(1, config.steps - config.warm_up)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def average_into(average: nn.Module, network: nn.Module, keep: float) -> None:
    """average = keep · average + (1 − keep) · network, statistics of the normalisations included."""
    with torch.no_grad():
        for mean, tensor in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(tensor, 1 - keep)
            else:
                mean.copy_(tensor)


def sampling_weights(data: OrganSlices) -> NDArray[np.float64]:
    """(n,) chance of each slice: a patient of n slices is drawn √n times as often as one with a single slice, and a
    slice with rarely outlined organs more often."""
    if len(data) == 0:
        return np.zeros(0)
    _, which, counts = np.unique(data.patients, return_inverse=True, return_counts=True)
    classes = data.possible.shape[1]
    drawn = np.stack([np.bincount(plane.ravel(), minlength=classes)[1:classes] > 0 for plane in data.labels])
    shown = drawn if data.outlined.any() else data.present
    rarity = np.sqrt(len(data) / np.maximum(shown.sum(axis=0), 4))
    weights = (1 + (shown * rarity).max(axis=1)) / np.sqrt(counts[which])
    return weights / weights.sum()


def _groups(network: nn.Module, decay: float) -> list[dict[str, object]]:
    """Weights decay, offsets and normalisations do not."""
    parameters: list[Tensor] = list(network.parameters())
    return [
        {"params": [one for one in parameters if one.ndim > 1], "weight_decay": decay},
        {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
    ]
