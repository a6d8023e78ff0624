"""Noise texture before and after denoising: power spectra, and the strength that preserves texture.

AAPM TG-233 (Samei 2019, 10.1002/mp.13763) describes texture by the spectrum's peak and average frequency:
lower-frequency noise is coarser and looks waxy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bioatt.physics.nps import nps
from bioatt_training.simulate.texture import peak_frequency

GRID = np.arange(0.02, 0.81, 0.02)
"""Common frequencies (1/mm) for spectra of different pixel sizes."""
STRENGTHS = tuple(round(0.05 * step, 2) for step in range(6, 21))
LARGEST_SHIFT = 0.25
"""Largest acceptable relative decrease of the average frequency. Our choice, below what readers are used to: iterative
reconstruction at routine levels (ASIR 30 and 50 %) lowered the peak frequency in clinical chest and abdomen CT by 30 to
48 % (SFPM 2017, 150242).
"""


def repeated_noise(stack: NDArray, repeats: int) -> NDArray[np.float64]:
    """Noise of slices scanned `repeats` times consecutively: each minus the mean of its repeats, scaled to unbiased
    σ.
    """
    groups = stack.astype(np.float64).reshape(-1, repeats, *stack.shape[1:])
    return ((groups - groups.mean(1, keepdims=True)) * math.sqrt(repeats / (repeats - 1))).reshape(stack.shape)


def described(noise: NDArray, pixel_mm: float) -> dict[str, Any]:
    """{"sigma_hu", "mean_per_mm", "peak_per_mm", "curve": NPS in HU² mm² on GRID, None above the Nyquist frequency}.

    The frequencies are NaN without noise.
    """
    spectrum = nps(noise, pixel_mm)
    there = bool(spectrum.value.any())
    curve = np.interp(GRID, spectrum.frequency, spectrum.value, left=spectrum.value[0], right=math.nan)
    return {
        "sigma_hu": float(noise.std(axis=(1, 2)).mean()),
        "mean_per_mm": spectrum.mean if there else math.nan,
        "peak_per_mm": peak_frequency(spectrum.frequency, spectrum.value) if there else math.nan,
        "curve": [None if math.isnan(value) else float(value) for value in curve],
    }


def texture(before: NDArray, after: NDArray, pixel_mm: float) -> dict[str, Any]:
    """Noise patches (n, h, w) before and after denoising, removed noise, and remaining noise at each strength."""
    left = {f"{s:g}": described(before + s * (after - before), pixel_mm) for s in STRENGTHS}
    for one in left.values():
        del one["curve"]
    return {
        "input": described(before, pixel_mm),
        "output": described(after, pixel_mm),
        "removed": described(before - after, pixel_mm),
        "strengths": left,
    }


def shift(before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
    """Relative decrease of the average frequency."""
    return 1 - after["mean_per_mm"] / before["mean_per_mm"]


def default_strength(textures: Sequence[Mapping[str, Any]], largest: float = LARGEST_SHIFT) -> float:
    """The largest strength at which the mean of the shifts stays within `largest`; the smallest strength if none
    does.
    """
    fitting = [
        strength
        for strength in STRENGTHS
        if np.mean([shift(one["input"], one["strengths"][f"{strength:g}"]) for one in textures]) <= largest
    ]
    return max(fitting, default=STRENGTHS[0])
