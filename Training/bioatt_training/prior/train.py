"""The whole making of the embedded prior: leave-patients-out judgement, calibration, and the network that ships."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from bioatt.anatomy import DescriptorSet
from bioatt.priors.embedded import FILE, load_embedded, save_embedded
from bioatt.priors.embedded_network import EmbeddedNetwork
from bioatt_training.prior.fit import FitConfig, calibrated, fit, folds_of, logits_of, temperature
from bioatt_training.prior.heads import drawn_heads
from bioatt_training.prior.judge import Judgement, judge
from bioatt_training.prior.labelled import LabelledSlices, joined, load_labelled

log = logging.getLogger(__name__)
DRAWN_HEADS = 16


@dataclass(frozen=True)
class CrossValidation:
    """Networks by fold, each row's fold (n,), and the logits (n, N) of the network that has not seen the row's patient."""

    networks: list[EmbeddedNetwork]
    folds: NDArray[np.int64]
    logits: NDArray[np.float32]

    def factors(self, data: LabelledSlices) -> NDArray[np.float64]:
        """(folds,) temperature for each fold, found on the other folds' patients."""
        found = []
        for fold in range(len(self.networks)):
            others = self.folds != fold
            found.append(temperature(self.logits[others], data.where(others)))
        return np.array(found)


def coarse_images(data: LabelledSlices) -> torch.Tensor:
    """(n, 1, 128, 128) HU on the network's grid."""
    return F.avg_pool2d(torch.from_numpy(data.images.astype(np.float32))[:, None], 2)


def cross_validate(
    data: LabelledSlices, heads: LabelledSlices, folds: int, config: FitConfig, folder: Path, names: tuple[str, ...]
) -> CrossValidation:
    """A network for each fold, taught on the other folds' patients. Networks found in `folder` are used again."""
    fold_of = folds_of(data, folds)
    images = coarse_images(data)
    logits = np.zeros(data.presence.shape, np.float32)
    networks = []
    for fold in range(folds):
        left_out = fold_of == fold
        path = folder / f"fold{fold}.safetensors"
        if not path.is_file():
            network = fit(joined(data.where(~left_out), heads), config, _log(f"fold {fold}"))
            save_embedded(path, network, _metadata(names, 1.0, config))
        networks.append(load_embedded(path)[0])
        logits[left_out] = logits_of(networks[-1], images[left_out])
    return CrossValidation(networks, fold_of, logits)


def train(data_folder: Path, folder: Path, descriptors: DescriptorSet, folds: int, config: FitConfig) -> Judgement:
    """Cross-validate, calibrate, then teach all patients; writes the weights into `folder` and returns the judgement."""
    folder.mkdir(parents=True, exist_ok=True)
    data = load_labelled(data_folder, descriptors, folder / "images.npz")
    heads = drawn_heads(DRAWN_HEADS, descriptors)
    names = descriptors.descriptors
    crossed = cross_validate(data, heads, folds, config, folder, names)
    judgement = judge(calibrated(crossed.logits, crossed.factors(data)[crossed.folds]), data, crossed.folds, names)
    factor = temperature(crossed.logits, data)
    log.info("macro AUC %.4f, log-loss %.4f, temperature %.3f", judgement.macro_auc, judgement.log_loss, 1 / factor)
    network = fit(joined(data, heads), config, _log("all patients"))
    save_embedded(folder / FILE, network, _metadata(names, factor, config))
    return judgement


def _metadata(names: tuple[str, ...], factor: float, config: FitConfig) -> dict[str, object]:
    calibration = {"slope": [factor] * len(names), "offset": [0.0] * len(names)}
    return {"descriptors": list(names), "calibration": calibration, "fit": asdict(config)}


def _log(what: str):  # noqa: ANN202
    return lambda epoch, loss: log.info("%s: epoch %d, loss %.4f", what, epoch + 1, loss)
