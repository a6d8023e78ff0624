"""A pack small enough to train on in seconds: contiguous slices, a single slice, a torso and a validation scan."""

from __future__ import annotations

import numpy as np
import pytest

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt_training.slabs.pack import Pack, neighbour_table

SIDE = 128


@pytest.fixture
def pack() -> Pack:
    """Nine slices of 128²: scans of 3, 1 and 2 slices, and a torso of 3; organ 8 covers the left half of each."""
    rng = np.random.default_rng(5)
    scan = [0, 0, 0, 1, 2, 2, 2, 3, 3]
    z = [4, 5, 6, 0, 0, 1, 2, 0, 2]
    n, scans = len(scan), 4
    descriptors = load_descriptor_set("paper17").descriptors
    body = np.full((n, SIDE, SIDE), 40.0)
    body[:, :, 64:] += 60 + 5 * np.arange(n)[:, None, None]
    noisy = body + 10 * rng.standard_normal(body.shape) * (np.array(scan) != 2)[:, None, None]
    maps = np.zeros((n, len(descriptors), SIDE // 8, SIDE // 8), np.uint8)
    maps[:, 8, :, :8] = 255
    step = np.array([1.25, 5.0, 2.0, 1.0], np.float32)
    return Pack(
        hu=np.rint(noisy).astype(np.int16),
        shape=np.full((n, 2), SIDE),
        scan=np.array(scan),
        neighbours=neighbour_table(scan, z, step.tolist(), 4.0),
        levels=np.full((n, SIDE // 8, SIDE // 8), 20, np.float16),
        directions=np.ones((n, 3, 3, 12), np.float16),
        maps=maps,
        pooled=np.full((n, len(descriptors)), 1 / len(descriptors), np.float32),
        own_level=np.where(np.array(scan) == 2, 0, 8).astype(np.float32),
        quarter_level=np.full(n, 18, np.float32),
        spectra=np.full((scans, 64, 33), 1, np.float32),
        response=np.ones((scans, 48), np.float32),
        step_mm=step,
        pixel_mm=np.full(scans, 0.8, np.float32),
        correlation=np.array([0.3, np.nan, np.nan, 0.2], np.float32),
        phantom=np.array([False, False, True, False]),
        validation=np.array([False, False, False, True]),
        patients=("a", "b", "phantom-1", "c"),
        descriptors=descriptors,
    )
