"""Fit the embedded prior's network to labelled slices, and calibrate it on patients it has not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from bioatt.network.embedded import EmbeddedNetwork, share
from bioatt.priors.embedded import turned
from bioatt_training.priors.augment import augment
from bioatt_training.priors.labelled import LabelledSlices


@dataclass(frozen=True)
class FitConfig:
    """AdamW under a one-cycle learning rate (Smith 2018); an epoch draws `draws` slices, patients evened out."""

    epochs: int = 32
    draws: int = 640
    batch: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    width: int = 16
    seed: int = 0


def fit(
    data: LabelledSlices, config: FitConfig, report: Callable[[int, float], None] = lambda epoch, loss: None
) -> EmbeddedNetwork:
    """Network trained on `data`, in evaluation mode. report(epoch, mean loss) is called after every epoch."""
    torch.manual_seed(config.seed)
    network = EmbeddedNetwork(data.presence.shape[1], config.width).train()
    images = torch.from_numpy(data.images)[:, None]
    presence, sure = torch.from_numpy(data.presence).float(), torch.from_numpy(data.sure).float()
    target = torch.from_numpy(data.target)
    chance = torch.from_numpy(sampling_weights(data))
    steps = config.draws // config.batch
    optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.learning_rate, config.epochs * steps)
    for epoch in range(config.epochs):
        total = 0.0
        for _ in range(steps):
            rows = torch.multinomial(chance, config.batch, replacement=True)
            logits = network(augment(images[rows].float()))
            loss = objective(logits, presence[rows], sure[rows], target[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        report(epoch, total / steps)
    return network.eval()


def objective(logits: Tensor, presence: Tensor, sure: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of presence where labels are sure, plus that of the shares p (Σ over descriptors) where all are."""
    by_descriptor = F.binary_cross_entropy_with_logits(logits, presence, reduction="none")
    whole = sure.prod(dim=1)
    shares = -(target * share(torch.sigmoid(logits)).log()).sum(dim=1)
    return (by_descriptor * sure).sum() / sure.sum() + 0.2 * (shares * whole).sum() / whole.sum().clamp(min=1)


def sampling_weights(data: LabelledSlices) -> NDArray[np.float64]:
    """(n,) chance of each slice: a patient of n slices is drawn √n times as often as one with a single slice."""
    _, which, counts = np.unique(data.patients, return_inverse=True, return_counts=True)
    weights = 1 / np.sqrt(counts[which])
    return weights / weights.sum()


def temperature(logits: NDArray[np.float32], data: LabelledSlices) -> float:
    """Factor on logits of patients not seen in training (n, N) that makes the objective least (Guo 2017's 1/T)."""
    rows = torch.from_numpy(logits)
    labels = [torch.from_numpy(array).float() for array in (data.presence, data.sure, data.target)]
    found = minimize_scalar(lambda factor: float(objective(rows * factor, *labels)), bounds=(0.2, 3), method="bounded")
    return float(found.x)


def logits_of(network: EmbeddedNetwork, images: Tensor) -> NDArray[np.float32]:
    """(n, N) logits of (n, 1, 128, 128) images in HU, each the mean over the image's eight turned views."""
    with torch.inference_mode():
        return np.concatenate([network(turned(image[None])).mean(0, keepdim=True).numpy() for image in images])


def folds_of(data: LabelledSlices, folds: int) -> NDArray[np.int64]:
    """(n,) fold of each slice: patients, those with the most slices first, go to the fold that holds least."""
    patients, counts = np.unique(data.patients, return_counts=True)
    load = np.zeros(folds)
    fold_of = {}
    for patient, count in sorted(zip(patients, counts, strict=True), key=lambda pair: (-pair[1], pair[0])):
        fold_of[patient] = int(load.argmin())
        load[fold_of[patient]] += count
    return np.array([fold_of[patient] for patient in data.patients])
