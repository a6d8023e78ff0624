"""Evaluation of the prior on changed scans: each volume is changed at full resolution before the prior."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bioatt.core.errors import InputError
from bioatt.core.volume import Volume
from bioatt.priors.slice_image import slice_image
from bioatt_training.priors.fit import logits_of
from bioatt_training.priors.judge import Judgement, judge
from bioatt_training.priors.labelled import LabelledSlices, labelled_volumes
from bioatt_training.priors.train import CrossValidation
from bioatt_training.simulate import insert_noise

Change = Callable[[NDArray[np.float32], Volume], NDArray[np.float32]]


def unchanged(hu: NDArray[np.float32], _: Volume) -> NDArray[np.float32]:
    """The scan as it is."""
    return hu


def turned_90(hu: NDArray[np.float32], _: Volume) -> NDArray[np.float32]:
    """Every slice turned by 90°."""
    return np.rot90(hu, 1, (1, 2))


def quarter_dose(hu: NDArray[np.float32], volume: Volume) -> NDArray[np.float32]:
    """Noise inserted to a quarter of the dose (see `simulate`), a standard kernel's where the scan's cannot be told."""
    try:
        return insert_noise(hu, volume.pixel_mm, dose_fraction=0.25).hu_low
    except InputError:
        return insert_noise(hu, volume.pixel_mm, dose_fraction=0.25, kernel="B30").hu_low


CHANGES: Mapping[str, Change] = {"unchanged": unchanged, "quarter dose": quarter_dose, "turned by 90°": turned_90}


def judge_under(
    change: Change,
    data_folder: Path,
    data: LabelledSlices,
    crossed: CrossValidation,
    names: tuple[str, ...],
    every: int = 3,
) -> Judgement:
    """Judge changed scans: every third slice of a volume and all single ones, each by the network trained and
    calibrated without its patient."""
    rows, logits = [], []
    factors = crossed.factors(data)
    for name, _, volume in labelled_volumes(data_folder):
        mine = np.flatnonzero(data.files == name)
        chosen = mine[::every]
        fold = crossed.folds[mine[0]]
        changed = change(volume.hu[data.z[chosen]], volume)
        spacing = volume.spacing[1::-1] if change is turned_90 else volume.spacing[:2]
        images = np.stack([slice_image(np.ascontiguousarray(hu), spacing) for hu in changed])
        rows.append(chosen)
        logits.append(logits_of(crossed.networks[fold], torch.from_numpy(images)[:, None]) * np.float32(factors[fold]))
    seen = np.concatenate(rows)
    return judge(np.concatenate(logits), data.where(seen), crossed.folds[seen], names)
