"""What is judged: anything that turns a slice into a slice, and knows what it depends on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bioatt.core.resources import resources_folder
from bioatt.core.strength import DEFAULT_STRENGTH
from bioatt.core.volume import Volume
from bioatt.inference.denoiser import Denoiser
from bioatt.priors.embedded import FILE
from bioatt_training.studies.benchmark.images import Image

WHOLE = 1.0
"""The strength that applies all of a network's change."""


class Judged(Protocol):
    """A denoiser. `identity` changes whenever its output may."""

    @property
    def name(self) -> str:
        """As tables show it."""

    @property
    def identity(self) -> str:
        """What its results are kept under."""

    def __call__(self, image: Image) -> NDArray[np.floating] | NDArray[np.int16]:
        """Denoise a slice."""


class Untouched:
    """The low-dose slice as it is."""

    name = "low dose"
    identity = "untouched"

    def __call__(self, image: Image) -> NDArray[np.int16]:
        """The input."""
        return image.hu


class Model:
    """A trained model as users run it: embedded prior of the noisy slice, default strength or another."""

    def __init__(self, model: str | Path, strength: float = DEFAULT_STRENGTH) -> None:
        self._denoiser, self.strength = Denoiser(model), strength
        self.name = self._denoiser.model.name
        if strength != DEFAULT_STRENGTH:
            self.name += f", strength {strength:g}"
        self.identity = f"model {self._denoiser.model.sha256[:16]} {self._denoiser.compute.precision} {strength:g}"
        if self._denoiser.model.network.uses_prior:
            prior = (resources_folder() / "Models" / FILE).read_bytes()
            self.identity += f" prior {hashlib.sha256(prior).hexdigest()[:16]}"
        self.sha256 = self._denoiser.model.sha256

    def __call__(self, image: Image) -> NDArray[np.int16]:
        """Denoise a slice alone."""
        volume = Volume(image.hu[None], spacing=(image.pixel_mm, image.pixel_mm, image.thickness_mm))
        return self._denoiser.denoise(volume, strength=self.strength).volume.hu[0]
