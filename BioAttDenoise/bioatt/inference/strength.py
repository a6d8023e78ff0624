"""Strength of a volume for a level or target noise: one value, measured on five fixed slices."""

from __future__ import annotations

import numpy as np

from bioatt.core.canonical import canonical
from bioatt.core.errors import InputError
from bioatt.core.geometry import nearest_axes
from bioatt.core.noise.removal import NoiseRemoval, measure
from bioatt.core.strength import LEVELS, UNMEASURED, Strength, TargetNoise, parse_strength
from bioatt.core.volume import Volume

MEASURED = 5
"""Number of slices, spread over the volume, whose noise is measured before and after the network."""


def measured_slices(volume: Volume) -> tuple[Volume, list[int]]:
    """The volume as axial slices, and the indices of those to measure, which do not depend on the stored order."""
    stack = volume if volume.axial else canonical(volume).volume
    count = stack.shape[0]
    from_the_feet = sorted({int((number + 0.5) / MEASURED * count) for number in range(MEASURED)})
    reversed_order = nearest_axes(stack.direction)[1][2] < 0
    return stack, [count - 1 - k if reversed_order else k for k in from_the_feet]


def soft_tissue_noise(before: Volume, after: Volume) -> tuple[float, float] | None:
    """Noise SD in HU of a scan before and after denoising, as levels define it; None if not measurable."""
    (scan, chosen), (denoised, _) = measured_slices(before), measured_slices(after)
    removal = measure((scan.hu[k].astype(np.float32), denoised.hu[k].astype(np.float32)) for k in chosen)
    return None if removal is None else (removal.noise_hu, removal.noise_hu * (1 - removal.removed(1.0)))


def needs_measuring(asked: Strength) -> bool:
    """Whether a strength depends on the volume. Raises InputError if it is invalid."""
    return isinstance(asked, TargetNoise) or isinstance(parse_strength(asked), str)


def strength_for(asked: Strength, removal: NoiseRemoval | None) -> tuple[float, list[str]]:
    """The strength that `asked` amounts to for a volume, and warnings about it.

    removal: of the volume, None if its noise is not measurable; a target then raises InputError.
    """
    if isinstance(asked, TargetNoise):
        if removal is None:
            raise InputError("the noise of this scan cannot be measured without soft tissue: give a strength")
        return _limited(1 - asked.hu / removal.noise_hu, str(asked), removal)
    level = parse_strength(asked)
    if not isinstance(level, str):
        return level, []
    if removal is None:
        return UNMEASURED[level], [
            f"the noise of this scan cannot be measured without soft tissue: strength {level} is applied as "
            f"{UNMEASURED[level]:g}"
        ]
    return _limited(LEVELS[level], level, removal)


def _limited(share: float, what: str, removal: NoiseRemoval) -> tuple[float, list[str]]:
    strength = removal.strength(share)
    reached = removal.removed(strength)
    if share > 0 and reached < share - 0.01:
        return strength, [
            f"strength {what} requests {100 * share:.0f} % less noise, but the model can remove at most "
            f"{100 * reached:.0f} % in this scan"
        ]
    return strength, [] if share > 0 else [f"the noise of this scan is {removal.noise_hu:.3g} HU, already below {what}"]
