"""Further metrics of a slice: distance of pretrained features, overlap of organs, error of structures; and a figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.anatomy.overlap import dice_by_organ
from bioatt.core.metrics import WINDOWS
from bioatt.core.volume import Volume
from bioatt.inference.denoiser import Denoiser
from bioatt.inference.models import TrainedModel
from bioatt.io.files import atomic_write
from bioatt.priors.organ_maps import OrganMapPrior
from bioatt_training.adversarial.checks import structure_error
from bioatt_training.adversarial.features import Backbone, load_features
from bioatt_training.adversarial.perceptual import pointwise
from bioatt_training.data.bank import Bank
from bioatt_training.fit.patches import standardised

SIDE, GREYS = 96, 16
CENTRE_PX = 256
"""Side of the part of a slice whose features are compared."""
WINDOW = WINDOWS["soft tissue"]


class FurtherFigures:
    """`evaluation.judge.Further`: features/distance (`perceptual.pointwise`), organs/dice and structure/ratio.

    organs/dice: mean over organs of the overlap (Dice 1945) of the organ maps' segmentations of output and target.
    structure/ratio: error of means over squares (see `structure_error`) relative to that of the low dose. "…_low"
    refers to the low dose.
    """

    def __init__(self, backbone: Backbone) -> None:
        self.features = load_features(backbone)
        self.organs = OrganMapPrior(load_descriptor_set("paper17"), smoothing=False)

    def __call__(self, volume: Volume, target: NDArray, output: NDArray) -> dict[str, float]:
        low, block = volume.hu[0], self.features.block
        inner = tuple(_middle(length, min(CENTRE_PX, length // block * block)) for length in target.shape)
        with torch.inference_mode():
            x, y, z = (standardised(np.asarray(image[inner], np.float32))[None] for image in (target, output, low))
            wanted, found, before = (self.features(image) for image in (x, y, z))
            errors = [float(structure_error(image, x)) for image in (y, z)]
            values = {"features/distance": pointwise(found, wanted), "features/distance_low": pointwise(before, wanted)}
        labels = [self._labels(image, volume) for image in (target, output, low)]
        return {
            **{name: float(value) for name, value in values.items()},
            "organs/dice": mean_dice(labels[0], labels[1]),
            "organs/dice_low": mean_dice(labels[0], labels[2]),
            "structure/ratio": float(np.sqrt(errors[0] / errors[1])),
        }

    def _labels(self, hu: NDArray, like: Volume) -> NDArray[np.uint8]:
        return self.organs.maps(Volume(np.asarray(hu)[None], spacing=like.spacing)).labels(0)


def mean_dice(reference: NDArray[np.uint8], test: NDArray[np.uint8]) -> float:
    """Mean of `dice_by_organ`; NaN if the reference shows no organ."""
    values = [*dice_by_organ(reference, test).values()]
    return float(np.mean(values)) if values else float("nan")


def draw_slice(bank: Bank, index: int, models: Mapping[str, TrainedModel], path: Path, columns: int = 4) -> None:
    """The central part of a slice at full and quarter dose, and denoised by each model, in the soft-tissue window."""
    target, noise = (np.asarray(image, np.int16) for image in bank.pair(index))
    one = bank.slices[index]
    volume = Volume((target + noise)[None], spacing=(one.pixel_mm, one.pixel_mm, one.thickness_mm or 5.0))
    shown: dict[str, NDArray] = {"full dose": target, "quarter dose": volume.hu[0]}
    for name, model in models.items():
        p = np.zeros(1, np.float32)
        shown[name] = Denoiser(model).preview(volume, 0, strength=1.0, p=p).volume.hu[0]
    _tiles(shown, path, columns)


def _tiles(shown: Mapping[str, NDArray], path: Path, columns: int) -> None:
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(1.7 * columns, 1.9 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, (name, image) in zip(axes, shown.items(), strict=False):
        middle = tuple(_middle(length, SIDE) for length in image.shape)
        axis.imshow(image[middle], "gray", vmin=WINDOW[0], vmax=WINDOW[1])
        axis.set_title(name, fontsize=7)
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png", dpi=80)
        Image.open(partial).convert("L").quantize(GREYS).save(partial, format="PNG", optimize=True)


def _middle(length: int, side: int) -> slice:
    return slice((length - side) // 2, (length - side) // 2 + side)
