"""Fit the organ-map network. Every step has its own seed, so that an interrupted run resumes exactly."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from bioatt.network.organ_maps import WIDTHS, OrganMapNetwork
from bioatt.priors.organ_cells import BODY_ABOVE_HU
from bioatt_training.priors.organ_maps.augmentation import ALL, SHAPES, Strength, augment
from bioatt_training.priors.organ_maps.objective import objective
from bioatt_training.priors.organ_maps.slices import OrganSlices

LAST = "last.pt"
CPU = torch.device("cpu")
_AHEAD = 250
"""Steps whose slices are drawn together."""
_COLUMNS = ("images", "labels", "bodies", "possible", "known", "outlined")
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
    strength: Strength = ALL
    seed: int = 0
    save_every: int = 250


FURTHER = FitConfig(learning_rate=6e-4, weight_decay=0.05, warm_up=50, averaging=0.995)
"""Settings to continue a trained network: a lower learning rate."""


@dataclass(frozen=True)
class TrainingSets:
    """The three kinds of slices from which a batch is drawn."""

    outlined: OrganSlices
    weak: OrganSlices
    phantom: OrganSlices


class Fit:
    """A run in `folder`: network, its average, optimiser and step, restored from its checkpoint if there is one.

    start: initial weights instead of random ones.
    """

    def __init__(
        self,
        sets: TrainingSets,
        config: FitConfig,
        folder: Path,
        device: torch.device = CPU,
        start: OrganMapNetwork | None = None,
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.folder, self.device = config, folder, device
        classes = sets.outlined.possible.shape[1]
        self.network = OrganMapNetwork(classes, config.widths).to(device)
        if start is not None:
            self.network.load_state_dict(start.state_dict())
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch
        self.average = copy.deepcopy(self.network)
        groups = _groups(self.network, config.weight_decay)
        self.optimiser = torch.optim.AdamW(groups, config.learning_rate, foreach=True)
        self.step = 0
        parts = (sets.outlined, sets.weak, sets.phantom)
        self.counts = (config.outlined, config.weak, config.phantom)
        self.chances = [torch.from_numpy(sampling_weights(part)) for part in parts]
        self.tensors = [_on_device(part, device) for part in parts]
        if (folder / LAST).is_file():
            self._load()

    def run(
        self,
        report: Callable[[int, float], None] = lambda step, loss: None,
        until: int | None = None,
        limit_s: float = math.inf,
    ) -> None:
        """Train to the last step or until limit_s is over; the learning rate follows whichever is nearer.

        report(step, mean loss) and a checkpoint every `save_every` steps and at the end.
        """
        begin = time.monotonic()
        losses: list[Tensor] = []
        self.network.train()
        last = min(self.config.steps, until or self.config.steps)
        while self.step < last:
            used = (time.monotonic() - begin) / limit_s
            losses.append(self._train_step(rate(self.step, self.config, used)))
            self.step += 1
            if self.step % self.config.save_every == 0 or self.step == last or used >= 1:
                self.save()
                report(self.step, float(torch.stack(losses).mean()))
                losses = []
                if used >= 1:
                    break

    def _train_step(self, share: float) -> Tensor:
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * share
        drawn, shape = self._draw()
        batch = augment(drawn["images"], drawn["labels"], drawn["bodies"], shape, self.config.strength)
        with torch.autocast(self.device.type, torch.bfloat16):
            logits = self.network(batch.hu.contiguous(memory_format=torch.channels_last), batch.coordinates)
        loss = objective(logits.float(), batch, drawn["possible"], drawn["known"], drawn["outlined"])
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
        self.optimiser.step()
        average_into(self.average, self.network, min(self.config.averaging, (self.step + 1) / (self.step + 10)))
        return loss.detach()

    def _draw(self) -> tuple[dict[str, Tensor], tuple[int, int]]:
        """A batch of slices of the three kinds, and the shape of its window."""
        place = self.step % _AHEAD
        if place == 0 or not hasattr(self, "_rows"):
            generator = torch.Generator().manual_seed(1_000_003 * self.config.seed + self.step // _AHEAD)
            self._rows = [
                torch.multinomial(odds, count * _AHEAD, True, generator=generator).view(_AHEAD, count).to(self.device)
                for odds, count in zip(self.chances, self.counts, strict=True)
                if count
            ]
            self._shapes = torch.randint(len(SHAPES), (_AHEAD,), generator=generator).tolist()
        torch.manual_seed(1_000_003 * self.config.seed + self.step)
        parts = [part for part, count in zip(self.tensors, self.counts, strict=True) if count]
        taken = {
            name: torch.cat(
                [part[name].index_select(0, rows[place]) for part, rows in zip(parts, self._rows, strict=True)]
            )
            for name in _COLUMNS
        }
        return taken, SHAPES[self._shapes[place]]

    def save(self) -> None:
        """Write the checkpoint atomically."""
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
        state = torch.load(self.folder / LAST, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
        log.info("resuming at step %d", self.step)


def body_masks(images: NDArray[np.float16]) -> NDArray[np.bool_]:
    """(n, G, G): the largest connected part of each slice that is denser than air."""
    masks = np.zeros(images.shape, bool)
    for image, mask in zip(images, masks, strict=True):
        parts, count = ndimage.label(image > BODY_ABOVE_HU)
        if count:
            mask[:] = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    return masks


def _on_device(part: OrganSlices, device: torch.device) -> dict[str, Tensor]:
    columns = {name: getattr(part, name) for name in ("images", "labels", "possible", "outlined")}
    columns |= {"known": part.present & part.sure, "bodies": body_masks(part.images)}
    return {name: torch.from_numpy(column).to(device) for name, column in columns.items()}


def rate(step: int, config: FitConfig, used: float = 0.0) -> float:
    """Learning-rate factor at a step, when a fraction `used` of the time is over."""
    if step < config.warm_up:
        return (step + 1) / config.warm_up
    done = (step - config.warm_up) / max(1, config.steps - config.warm_up)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(max(done, used), 1.0)))


def average_into(average: nn.Module, network: nn.Module, keep: float) -> None:
    """average = keep · average + (1 − keep) · network, statistics of the normalisations included."""
    pairs = zip(average.state_dict().values(), network.state_dict().values(), strict=True)
    means, tensors = zip(*(pair for pair in pairs if pair[0].dtype.is_floating_point), strict=True)
    with torch.no_grad():
        torch._foreach_lerp_(means, tensors, 1 - keep)


def sampling_weights(data: OrganSlices) -> NDArray[np.float64]:
    """(n,) probability of each slice: a patient with n slices is drawn √n times as often as one with a single slice;
    slices with rarely outlined organs are drawn more often.
    """
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
    """Apply weight decay to weights, but not to biases and normalisations."""
    parameters: list[Tensor] = list(network.parameters())
    return [
        {"params": [one for one in parameters if one.ndim > 1], "weight_decay": decay},
        {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
    ]
