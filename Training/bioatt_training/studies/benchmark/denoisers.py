"""The evaluated methods: functions from slice to slice with a key of everything their output depends on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bioatt.core.strength import DEFAULT_STRENGTH
from bioatt.core.volume import Volume
from bioatt.inference import denoiser as engine
from bioatt.priors.organ_maps import organ_maps_file
from bioatt_training.studies.benchmark.images import Image

WHOLE = 1.0
"""The strength at which the network's full change is applied."""


class Denoiser(Protocol):
    """A function from slice to slice. Two denoisers whose outputs may differ have a different `identity`."""

    @property
    def name(self) -> str:
        """Name in tables."""

    @property
    def identity(self) -> str:
        """Key of its stored measurements."""

    def __call__(self, image: Image) -> NDArray[np.floating] | NDArray[np.int16]:
        """Denoise a slice."""


class Identity:
    """The unchanged low-dose slice."""

    name = "low dose"
    identity = "untouched"

    def __call__(self, image: Image) -> NDArray[np.int16]:
        """The input."""
        return image.hu


class Model:
    """A trained model in its default configuration: its own prior of the noisy slice, default strength unless given."""

    def __init__(self, model: str | Path, strength: float = DEFAULT_STRENGTH) -> None:
        self._denoiser, self.strength = engine.Denoiser(model), strength
        self.name = self._denoiser.model.name
        if strength != DEFAULT_STRENGTH:
            self.name += f", strength {strength:g}"
        self.identity = f"model {self._denoiser.model.sha256[:16]} {self._denoiser.compute.precision} {strength:g}"
        if self._denoiser.model.network.uses_prior:
            self.identity += f" prior {hashlib.sha256(organ_maps_file().read_bytes()).hexdigest()[:16]}"
        self.sha256 = self._denoiser.model.sha256
        self.neighbours = self._denoiser.model.network.neighbours

    def __call__(self, image: Image) -> NDArray[np.int16]:
        """Denoise a single slice."""
        return self.volume(Volume(image.hu[None], spacing=(image.pixel_mm, image.pixel_mm, image.thickness_mm)))[0]

    def volume(self, scan: Volume) -> NDArray[np.int16]:
        """Denoise a volume; returns HU (z, y, x)."""
        return self._denoiser.denoise(scan, strength=self.strength).volume.hu
