"""Dice of organs between two segmentations."""

from __future__ import annotations

import numpy as np
import pytest

from bioatt.anatomy.descriptors import ANATOMY_SET, load_descriptor_set
from bioatt.anatomy.overlap import LEAST_VOXELS, dice_by_organ

LIVER, SPLEEN, KIDNEYS = (
    1 + load_descriptor_set(ANATOMY_SET).descriptors.index(name) for name in ("liver", "spleen", "kidneys")
)


def test_overlap_by_organ():
    """Half of the liver is found, the spleen missed and a kidney invented; a single-voxel kidney is ignored."""
    reference, test = np.zeros((2, 40, 40), np.uint8), np.zeros((2, 40, 40), np.uint8)
    reference[:, :20, :20], reference[:, 20:, :20], reference[0, 0, 30] = LIVER, SPLEEN, KIDNEYS
    test[:, :20, 10:30], test[:, 20:, 30:] = LIVER, KIDNEYS
    assert LEAST_VOXELS > 1
    assert dice_by_organ(reference, test) == {"liver": pytest.approx(0.5), "spleen": 0.0}
    assert dice_by_organ(reference, reference) == {"liver": 1.0, "spleen": 1.0}
