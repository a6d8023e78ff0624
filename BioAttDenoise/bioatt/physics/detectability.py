"""Task d′ of AAPM TG-233 (Samei 2019, 10.1002/mp.13763): non-prewhitening observer with eye filter, from TTF and NPS.

d′² = [∫ W² T² E² df]² / ∫ W² T² N E⁴ df over the plane of frequencies, with task W (HU mm²), transfer T, noise power
N (HU² mm²) and eye filter E.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid
from scipy.special import j1

from bioatt.physics.nps import Spectrum

Array = NDArray[np.float64]
Task = Callable[[Array], Array]

VIEWING_MM = 500.0
"""Distance to a display that shows the image at actual size."""
PEAK_PER_DEGREE = 4.0
STEPS = 2000


def disc_task(contrast_hu: float, diameter_mm: float) -> Task:
    """Fourier transform of a disc in HU mm², by radial frequency in 1/mm."""

    def transform(frequency: Array) -> Array:
        x = np.pi * diameter_mm * np.maximum(frequency, 1e-9)
        return contrast_hu * np.pi * diameter_mm**2 / 4 * 2 * j1(x) / x

    return transform


def eye_filter(frequency: Array) -> Array:
    """f^1.3 exp(−b f²), largest at 4 cycles per degree (Burgess 1999, 10.1364/JOSAA.16.000694), frequency in 1/mm."""
    per_degree = frequency * VIEWING_MM * np.pi / 180
    return per_degree**1.3 * np.exp(-1.3 / 2 * (per_degree / PEAK_PER_DEGREE) ** 2)


def npwe(task: Task, transfer: Spectrum, noise: Spectrum, *, eye: bool = True) -> float:
    """d′ of the task, integrated up to the lower end of the two curves; eye=False omits the eye filter (NPW).

    Noise power is taken as constant below its lowest frequency.
    """
    frequency = np.linspace(0, min(transfer.frequency[-1], noise.frequency[-1]), STEPS + 1)
    seen = (task(frequency) * np.interp(frequency, transfer.frequency, transfer.value)) ** 2
    weight = eye_filter(frequency) ** 2 if eye else np.ones_like(frequency)
    power = np.interp(frequency, noise.frequency, noise.value)
    ring = 2 * np.pi * frequency
    signal = trapezoid(seen * weight * ring, frequency)
    spread = trapezoid(seen * power * weight**2 * ring, frequency)
    return float(signal / np.sqrt(spread)) if spread > 0 else float("nan")
