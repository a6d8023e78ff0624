"""Slices with what each shows, from a folder of CT with `organs.csv`, `regions.csv` and `SOURCES.md`."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bioatt.anatomy.descriptors import DescriptorSet
from bioatt.core.canonical import canonical
from bioatt.core.errors import InputError
from bioatt.core.volume import Volume
from bioatt.io.images import read_volume
from bioatt.priors.slice_image import slice_image
from bioatt_training.data.collection import collection
from bioatt_training.priors.rows import Rows

FINE_GRID = 256
FINE_CELL_MM = 1.8
"""The training image: finer than what the network sees, so that augmentation can turn it before cells are averaged."""


@dataclass(frozen=True)
class LabelledSlices(Rows):
    """Slices of many patients, one row each.

    images: float16 HU (n, 256, 256) on the fine grid. presence: bool (n, N). sure: bool (n, N), False next to the end
    of an organ's range, where the label is good to one slice only. patients, files, regions: text (n,). z: (n,).
    """

    images: NDArray[np.float16]
    presence: NDArray[np.bool_]
    sure: NDArray[np.bool_]
    patients: NDArray[np.str_]
    files: NDArray[np.str_]
    regions: NDArray[np.str_]
    z: NDArray[np.int64]

    @property
    def target(self) -> NDArray[np.float32]:
        """(n, N): an equal share to each visible descriptor; equal shares to all where none is visible."""
        total = self.presence.sum(axis=1, keepdims=True)
        return np.where(total > 0, self.presence / np.maximum(total, 1), 1 / self.presence.shape[1]).astype(np.float32)


def label_ranges(
    ranges: Sequence[tuple[str, int, int]], slices: int, descriptors: DescriptorSet
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Presence and sureness (slices, N) from (organ, first, last) ranges of one file.

    Sureness is lost on both sides of a range's end, unless that end is the volume's own. Organs that are no
    descriptor's (ribs, bronchi, adrenal glands) are left out.
    """
    presence = np.zeros((slices, len(descriptors)), bool)
    sure = np.ones_like(presence)
    for organ, first, last in ranges:
        for column in descriptors.columns_of(organ):
            presence[first : last + 1, column] = True
    changes = presence[1:] != presence[:-1]
    sure[1:] &= ~changes
    sure[:-1] &= ~changes
    return presence, sure


def patients_by_file(folder: Path) -> dict[str, str]:
    """Patient of every file of the collection."""
    return {one.name: one.patient for one in collection(folder)}


def ranges_by_file(folder: Path) -> dict[str, list[tuple[str, int, int]]]:
    """Labelled ranges (organ, first, last slice) of every file in `organs.csv`."""
    ranges = defaultdict(list)
    with (folder / "organs.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            ranges[row["file"]].append((row["organ"], int(row["first_slice"]), int(row["last_slice"])))
    return dict(ranges)


def labelled_volumes(folder: Path) -> Iterator[tuple[str, str, Volume]]:
    """(file, patient, canonical volume) of every labelled file. Raises InputError where the folder is no such data."""
    if not (folder / "organs.csv").is_file():
        raise InputError(f"{folder.name} holds no organs.csv: give the folder with volumes/, slices/ and organs.csv")
    patients = patients_by_file(folder)
    for name in sorted(ranges_by_file(folder)):
        yield name, patients[name], canonical(read_volume(folder / name)).volume


def load_labelled(folder: Path, descriptors: DescriptorSet, cache: Path | None = None) -> LabelledSlices:
    """All labelled slices of `folder`; images are kept in `cache` (.npz) where given, labels are read anew."""
    images = _images(folder, cache)
    ranges = ranges_by_file(folder)
    patients = patients_by_file(folder)
    with (folder / "regions.csv").open(encoding="utf-8") as file:
        regions = {row["file"]: row["region"] for row in csv.DictReader(file)}
    parts = []
    for name, stack in images.items():
        presence, sure = label_ranges(ranges[name], len(stack), descriptors)
        texts = [np.full(len(stack), text) for text in (patients[name], name, regions[name])]
        parts.append((stack, presence, sure, *texts, np.arange(len(stack))))
    return LabelledSlices(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _images(folder: Path, cache: Path | None) -> dict[str, NDArray[np.float16]]:
    if cache is not None and cache.is_file():
        with np.load(cache) as kept:
            return {name: kept[name] for name in kept.files}
    images = {name: fine_images(volume) for name, _, volume in labelled_volumes(folder)}
    if cache is not None:
        np.savez(cache, allow_pickle=False, **images)
    return images


def fine_images(volume: Volume) -> NDArray[np.float16]:
    """(slices, 256, 256) float16 HU of a canonical volume's slices on the fine grid."""
    return np.stack(
        [slice_image(hu, volume.spacing[:2], FINE_GRID, FINE_CELL_MM).astype(np.float16) for hu in volume.hu]
    )
