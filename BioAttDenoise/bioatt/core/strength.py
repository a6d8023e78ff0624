"""How much of a network's change is applied where nobody says.

The shipped models are asked for the tissue without any noise. What is best for a reader keeps some: a scan without
noise looks waxy, and its faint detail cannot be told from what the network made of noise. The default is chosen by
the benchmark (`Training/results/benchmark`): the noise spectrum's rule allows up to 0.85; scans of more dose want less,
and 0.75 is nearly the best at a quarter.
"""

from __future__ import annotations

from bioatt.core.errors import InputError

DEFAULT_STRENGTH = 0.75
"""Share of the change, 0 (none) to 1."""


def check_strength(strength: float) -> None:
    """Raise InputError for a strength that is no share."""
    if not 0 <= strength <= 1:
        raise InputError(f"strength must lie between 0 and 1, not {strength:g}")
