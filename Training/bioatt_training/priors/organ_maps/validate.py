"""Dice on outlined slices during training, on the network's cells and the training's device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from bioatt.network.organ_maps import OrganMapNetwork
from bioatt.priors.organ_cells import AIR_HU, body_box, coordinates
from bioatt_training.priors.organ_maps.slices import FINE, OrganSlices, cells_of

SHAPE = (112, 144)


class Validation:
    """The outlined slices of `slices`, each in a window of SHAPE cells around its body."""

    def __init__(self, slices: OrganSlices, descriptors: Sequence[str], device: torch.device) -> None:
        self.slices, self.descriptors = slices.where(slices.outlined), tuple(descriptors)
        windows = [_window(image, labels) for image, labels in zip(self.slices.images, self.slices.labels, strict=True)]
        hu, where, labels = (np.stack(column) for column in zip(*windows, strict=True))
        self.hu, self.where = torch.from_numpy(hu).to(device), torch.from_numpy(where).to(device)
        self.labels: NDArray[np.int64] = F.pixel_unshuffle(torch.from_numpy(labels)[:, None], FINE).numpy()

    def dice(self, network: OrganMapNetwork) -> Mapping[str, float | None]:
        """Mean over patients of each descriptor's Dice, a patient's slices pooled; None if no slice shows it."""
        with torch.inference_mode():
            found = network.eval()(self.hu, self.where).argmax(1).cpu().numpy()
        n = len(self.descriptors)
        patients, which = np.unique(self.slices.patients, return_inverse=True)
        sums = np.zeros((len(patients), 3, n))
        for patient, p, labels, possible in zip(which, found, self.labels, self.slices.possible, strict=True):
            taken = np.broadcast_to(p, labels.shape)
            counted = taken[(labels != 0) | ~possible[taken]]
            for column, values in enumerate((taken[taken == labels], counted, labels)):
                sums[patient, column] += np.bincount(values.ravel(), minlength=n + 1)[1:]
        both, taken_sum, true = sums.transpose(1, 0, 2)
        dice = np.where(true > 0, 2 * both / np.maximum(taken_sum + true, 1), np.nan)
        known = [column[~np.isnan(column)] for column in dice.T]
        return {
            name: round(float(column.mean()), 4) if len(column) else None
            for name, column in zip(self.descriptors, known, strict=True)
        }


def _window(
    image: NDArray[np.float16], labels: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """HU (1, H, W), coordinates (2, H, W) and labels (FINE H, FINE W) around the body."""
    cells = cells_of(image)
    box = body_box(cells)
    start = [(extent.start + extent.stop - side) // 2 for extent, side in zip(box, SHAPE, strict=True)]
    hu = np.full(SHAPE, AIR_HU, np.float32)
    named = np.zeros([FINE * side for side in SHAPE], np.int64)
    outer = [
        slice(max(first, 0), min(first + side, size))
        for first, side, size in zip(start, SHAPE, cells.shape, strict=True)
    ]
    inner = [slice(one.start - first, one.stop - first) for one, first in zip(outer, start, strict=True)]
    hu[tuple(inner)] = cells[tuple(outer)]
    named[tuple(_fine(one) for one in inner)] = labels[tuple(_fine(one) for one in outer)]
    rows, columns = (slice(e.start - first, e.stop - first) for e, first in zip(box, start, strict=True))
    return hu[None], coordinates((rows, columns), SHAPE), named


def _fine(extent: slice) -> slice:
    return slice(FINE * extent.start, FINE * extent.stop)
