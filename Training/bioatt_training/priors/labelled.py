"""Organ presence by slice of a collection, from its `organs.csv` and `SOURCES.md`."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bioatt.anatomy.descriptors import DescriptorSet
from bioatt_training.data.collection import collection


def label_ranges(
    ranges: Sequence[tuple[str, int, int]], slices: int, descriptors: DescriptorSet
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Presence and certainty (slices, N) from (organ, first, last) ranges of one file.

    Slices on both sides of a range's end are uncertain, unless the end is that of the volume. Organs without a
    descriptor (ribs, bronchi, adrenal glands) are ignored.
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
