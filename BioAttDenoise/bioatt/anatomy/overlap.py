"""Overlap of two segmentations, organ by organ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bioatt.anatomy.descriptors import ANATOMY_SET, load_descriptor_set

LEAST_VOXELS = 200
"""A smaller organ of the reference has no Dice."""


def dice_by_organ(reference: NDArray[np.uint8], test: NDArray[np.uint8]) -> dict[str, float]:
    """{organ: 2 |A ∩ B| / (|A| + |B|)} (Dice 1945) for the reference's organs.

    Labels are those of `anatomy.sources.label_volume`.
    """
    names = load_descriptor_set(ANATOMY_SET).descriptors
    n = len(names) + 1
    there, here, both = (
        np.bincount(one.ravel(), minlength=n) for one in (reference, test, reference[reference == test])
    )
    return {
        names[value - 1]: float(2 * both[value] / (there[value] + here[value]))
        for value in range(1, n)
        if there[value] >= LEAST_VOXELS
    }
