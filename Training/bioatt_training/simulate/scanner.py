"""Scanner model: bow-tie filter, tube current modulation, electronic noise, geometry."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from bioatt.core.errors import InputError
from bioatt.simulation.tomography import MU_WATER, Geometry

BOWTIE_RADIUS_MM = 240.0


@dataclass(frozen=True)
class Scanner:
    """Detected counts: I0 · bow-tie(cell) · modulation(view) · e^−p, plus electronic noise.

    bowtie: strength; 1 fully equalises a 48 cm water cylinder, 0 is no filter. modulation: exponent k of the tube
    current ~ attenuation^k over the view angle; ½ minimises noise for a given dose (Gies 1999, 10.1118/1.598779), 0 is
    a constant current. modulation_range: largest ratio of the current. electronic_variance: of the electronic noise, in
    squared quanta. saturation: the largest variance of a line integral; beyond it, a ray is photon-starved and the
    detector's lower limit of counts bounds the noise.
    """

    geometry: Geometry = field(default_factory=Geometry)
    bowtie: float = 0.25
    modulation: float = 0.5
    modulation_range: float = 8.0
    electronic_variance: float = 10.0
    saturation: float = 1.0

    def __post_init__(self) -> None:
        if min(self.bowtie, self.modulation, self.electronic_variance) < 0 or self.modulation_range < 1:
            raise InputError(
                "bow-tie, modulation and electronic noise must be 0 or more; the modulation range must be 1 or more"
            )

    def faster(self) -> Scanner:
        """The scanner with half the views: half the time; the noise texture differs only far from the isocentre."""
        return replace(self, geometry=self.geometry.coarser(views=2))

    def attenuation(self, integrals: np.ndarray, geometry: Geometry) -> np.ndarray:
        """e^p / (bow-tie · modulation), which divided by I0 is the quantum variance of a line integral.

        integrals (z, views, cells) in `geometry`, this scanner's own or a coarser one; float32 of the same shape.
        """
        (s, depth), (sine, cosine) = (array.T for array in geometry.rays())
        distance = (s * cosine - depth * sine) / BOWTIE_RADIUS_MM
        missing = 1 - np.sqrt(np.clip(1 - distance**2, 0, 1))
        chord = 2 * BOWTIE_RADIUS_MM * MU_WATER * missing
        exponent = integrals + (self.bowtie * chord).astype(np.float32)
        if self.modulation:
            worst = np.quantile(integrals, 0.95, axis=2, keepdims=True)
            current = np.exp(self.modulation * (worst - worst.max(1, keepdims=True)))
            current = np.maximum(current, 1 / self.modulation_range)
            exponent = exponent - np.log(current / current.mean(1, keepdims=True))
        return np.exp(exponent, dtype=np.float32)

    def variance(self, attenuation: np.ndarray, counts: np.ndarray, dose: float) -> np.ndarray:
        """Variance of the line integrals at `dose` (1 = as scanned) for I0 = counts (z, 1, 1)."""
        quanta = attenuation / (dose * counts)
        return np.minimum(quanta * (1 + self.electronic_variance * quanta), self.saturation)
