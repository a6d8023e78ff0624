"""The evaluated methods: functions from volume to volume, each with a key of everything its output depends on."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bioatt.core.strength import DEFAULT_STRENGTH
from bioatt.core.volume import Volume
from bioatt.inference.planes import REACH_MM
from bioatt_training.studies.benchmark.denoisers import Model
from bioatt_training.studies.benchmark.images import Image
from bioatt_training.studies.physics.phantoms import THICKNESS_MM


class Subject(Protocol):
    """identity: key of its stored measurements. reach: slices on either side whose noise enters its output."""

    name: str
    identity: str
    reach: int

    def __call__(self, scan: Volume) -> NDArray:
        """The output (z, y, x) in HU."""


class Network:
    """A trained model in its default configuration, at a given strength."""

    def __init__(self, model: str, strength: float = DEFAULT_STRENGTH) -> None:
        self.model = Model(model, strength)
        self.name, self.identity = self.model.name, self.model.identity
        self.sha256, self.strength = self.model.sha256, strength
        self.reach = min(self.model.neighbours // 2, int(REACH_MM // THICKNESS_MM))

    def __call__(self, scan: Volume) -> NDArray:
        """Denoise."""
        return self.model.volume(scan)


class SliceAverage:
    """Each slice's mean with its two neighbours, equivalent to thicker slices."""

    name = identity = "mean of 3 slices"
    reach = 1

    def __call__(self, scan: Volume) -> NDArray:
        """The mean; the first and last slice repeat."""
        padded = np.pad(scan.hu.astype(np.float32), ((1, 1), (0, 0), (0, 0)), mode="edge")
        return (padded[:-2] + padded[1:-1] + padded[2:]) / 3


class BlockMatching:
    """BM3D for white noise of the measured level; takes seconds per slice, needs the extra [benchmark]."""

    name = "BM3D"
    identity = "BM3D scale 2"
    reach = 0

    def __call__(self, scan: Volume) -> NDArray:
        """Slice by slice."""
        from bioatt_training.studies.benchmark.baselines import bm3d

        return np.stack([bm3d(Image(plane, scan.pixel_mm, scan.spacing[2]), scale=2.0) for plane in scan.hu])
