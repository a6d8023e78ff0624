"""Strength: the share of the network's change that is applied.

The models are trained to remove all noise. Readers are better served with some of it left: images without noise look
waxy, and faint detail cannot be distinguished from network artefacts. The default comes from the benchmark
(`Training/results/benchmark`). Its limit on the shift of the noise spectrum allows up to 0.85; higher doses need less,
and 0.75 is close to the optimum at a quarter of the dose.

A given strength removes different amounts of noise in different scans. A level or target instead specifies the scan's
noise, and the strength is found for that scan (`core.noise.removal`).
"""

from __future__ import annotations

from dataclasses import dataclass

from bioatt.core.errors import InputError

DEFAULT_STRENGTH = 0.75
"""0 (input unchanged) to 1 (full change)."""
LEVELS = {"low": 0.3, "medium": 0.5, "high": 0.7}
"""Share of a scan's noise SD that each level removes."""
UNMEASURED = {"low": 0.5, "medium": 0.75, "high": 1.0}
"""Strength of each level if the scan has no soft tissue to measure noise in."""


@dataclass(frozen=True)
class TargetNoise:
    """Noise SD to leave in soft tissue, HU. Raises InputError unless it is a positive number."""

    hu: float

    def __post_init__(self) -> None:
        if not 0 < self.hu < float("inf"):
            raise InputError(f"the target noise must be a number of HU above 0, not {self.hu:g}")

    def __str__(self) -> str:
        return f"{self.hu:g} HU"


Strength = float | str | TargetNoise
"""0 to 1, a level of LEVELS, or a target."""


def check_strength(strength: float) -> None:
    """Raise InputError for a strength outside 0 to 1 or NaN."""
    if not 0 <= strength <= 1:
        raise InputError(f"strength must lie between 0 and 1, not {strength:g}")


def parse_strength(text: str | float) -> float | str:
    """Parse a user's strength: a level's name or a number 0 to 1. Raises InputError for anything else."""
    if text in LEVELS:
        return text
    try:
        strength = float(text)
    except ValueError:
        raise InputError(f"strength {text!r:.40}: give 0 to 1, or one of {', '.join(LEVELS)}") from None
    check_strength(strength)
    return strength
