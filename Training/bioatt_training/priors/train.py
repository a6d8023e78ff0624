"""The making of the embedded prior: leave-patients-out networks, calibration on them, and the network that ships."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from bioatt.anatomy.descriptors import DescriptorSet
from bioatt.io.files import make_folder
from bioatt.network.embedded import EmbeddedNetwork
from bioatt.priors.embedded import FILE, load_embedded, save_embedded
from bioatt_training.priors.fit import FitConfig, fit, folds_of, logits_of, temperature
from bioatt_training.priors.heads import drawn_heads
from bioatt_training.priors.judge import Judgement, judge
from bioatt_training.priors.labelled import LabelledSlices, load_labelled
from bioatt_training.priors.rows import joined

log = logging.getLogger(__name__)
DRAWN_HEADS = 16


@dataclass(frozen=True)
class TrainingData:
    """Labelled slices of patients, the drawn heads that training (never judging) adds, and the columns' names."""

    data: LabelledSlices
    heads: LabelledSlices
    names: tuple[str, ...]


@dataclass(frozen=True)
class CrossValidation:
    """Networks by fold, each row's fold (n,), logits (n, N) of the network not trained on the row's patient."""

    networks: list[EmbeddedNetwork]
    folds: NDArray[np.int64]
    logits: NDArray[np.float32]

    def factors(self, data: LabelledSlices) -> NDArray[np.float64]:
        """(folds,) factor on the logits of each fold, found on the other folds' patients."""
        others = (self.folds != fold for fold in range(len(self.networks)))
        return np.array([temperature(self.logits[rows], data.where(rows)) for rows in others])

    def judgement(self, data: LabelledSlices, names: tuple[str, ...]) -> Judgement:
        """All slices, each as its patient was left out, calibrated without that patient."""
        scaled = self.logits * self.factors(data)[self.folds, None].astype(np.float32)
        return judge(scaled, data, self.folds, names)


def prepare(data_folder: Path, folder: Path, descriptors: DescriptorSet) -> TrainingData:
    """Read the collection; its images are kept in `folder`, which is made.

    Raises InputError where the collection is not there, and where there can be no such folder.
    """
    make_folder(folder)
    data = load_labelled(data_folder, descriptors, folder / "images.npz")
    return TrainingData(data, drawn_heads(DRAWN_HEADS, descriptors), descriptors.descriptors)


def cross_validate(training: TrainingData, folds: int, config: FitConfig, folder: Path) -> CrossValidation:
    """A network for each fold, trained on the other folds' patients. Networks found in `folder` are reused."""
    data = training.data
    fold_of = folds_of(data, folds)
    images = F.avg_pool2d(torch.from_numpy(data.images.astype(np.float32))[:, None], 2)
    logits = np.zeros(data.presence.shape, np.float32)
    networks = []
    for fold in range(folds):
        left_out = fold_of == fold
        path = folder / f"fold{fold}.safetensors"
        if not path.is_file():
            network = fit(joined([data.where(~left_out), training.heads]), config, _reporter(f"fold {fold}"))
            save_embedded(path, network, _metadata(training.names, 1.0, config))
        networks.append(load_embedded(path)[0])
        logits[left_out] = logits_of(networks[-1], images[left_out])
    return CrossValidation(networks, fold_of, logits)


def train(training: TrainingData, crossed: CrossValidation, config: FitConfig, folder: Path) -> float:
    """Train on all patients and write the weights, calibrated on left-out patients; returns the factor on logits.

    Weights found in `folder` are kept.
    """
    factor = temperature(crossed.logits, training.data)
    if not (folder / FILE).is_file():
        network = fit(joined([training.data, training.heads]), config, _reporter("all patients"))
        save_embedded(folder / FILE, network, _metadata(training.names, factor, config))
    return factor


def _metadata(names: tuple[str, ...], factor: float, config: FitConfig) -> dict[str, object]:
    calibration = {"slope": [factor] * len(names), "offset": [0.0] * len(names)}
    return {"descriptors": list(names), "calibration": calibration, "fit": asdict(config)}


def _reporter(what: str) -> Callable[[int, float], None]:
    return lambda epoch, loss: log.info("%s: epoch %d, loss %.4f", what, epoch + 1, loss)
