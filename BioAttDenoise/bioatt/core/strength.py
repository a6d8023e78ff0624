"""Strength: the share of the network's change that is applied.

The models are trained to remove all noise. Readers are better served with some of it left: images without noise look
waxy, and faint detail cannot be distinguished from artefacts of the network. The default comes from the benchmark
(`Training/results/benchmark`): its limit on the shift of the noise spectrum allows up to 0.85; higher doses need less,
and 0.75 is close to the optimum at a quarter of the dose.
"""

from __future__ import annotations

from bioatt.core.errors import InputError

DEFAULT_STRENGTH = 0.75
"""0 (input unchanged) to 1 (all of the change)."""


def check_strength(strength: float) -> None:
    """Raise InputError for a strength outside 0 to 1 or NaN."""
    if not 0 <= strength <= 1:
        raise InputError(f"strength must lie between 0 and 1, not {strength:g}")
