"""The strength that a level or a target noise means for a volume: one number, from five fixed slices of it."""

from __future__ import annotations

import numpy as np

from bioatt.core.canonical import canonical
from bioatt.core.errors import InputError
from bioatt.core.geometry import nearest_axes
from bioatt.core.noise.removal import NoiseRemoval, measure
from bioatt.core.strength import LEVELS, UNMEASURED, Strength, TargetNoise, parse_strength
from bioatt.core.volume import Volume

MEASURED = 5
"""Slices whose noise is measured before and after the network, spread over the volume."""


def measured_slices(volume: Volume) -> tuple[Volume, list[int]]:
    """The volume as a stack of axial slices, and which are measured: the same in whatever order it is stored."""
    stack = volume if volume.axial else canonical(volume).volume
    count = stack.shape[0]
    from_the_feet = sorted({int((number + 0.5) / MEASURED * count) for number in range(MEASURED)})
    reversed_order = nearest_axes(stack.direction)[1][2] < 0
    return stack, [count - 1 - k if reversed_order else k for k in from_the_feet]


def soft_tissue_noise(before: Volume, after: Volume) -> tuple[float, float] | None:
    """Noise SD in HU of a scan before and after denoising, by the measure that a level is a share of; None if it
    cannot be measured.
    """
    (scan, chosen), (denoised, _) = measured_slices(before), measured_slices(after)
    removal = measure((scan.hu[k].astype(np.float32), denoised.hu[k].astype(np.float32)) for k in chosen)
    return None if removal is None else (removal.noise_hu, removal.noise_hu * (1 - removal.removed(1.0)))


def needs_measuring(asked: Strength) -> bool:
    """Whether a strength depends on the volume. Raises InputError for what is no strength."""
    return isinstance(asked, TargetNoise) or isinstance(parse_strength(asked), str)


def strength_for(asked: Strength, removal: NoiseRemoval | None) -> tuple[float, list[str]]:
    """The number that `asked` means for a volume, and what is to be said about it.

    removal: of the volume, None if its noise cannot be measured; a target is then refused with InputError.
    """
    if isinstance(asked, TargetNoise):
        if removal is None:
            raise InputError("the noise of this scan cannot be measured, it has no soft tissue: give a strength")
        return _limited(1 - asked.hu / removal.noise_hu, str(asked), removal)
    level = parse_strength(asked)
    if not isinstance(level, str):
        return level, []
    if removal is None:
        return UNMEASURED[level], [
            f"the noise of this scan cannot be measured, it has no soft tissue: {level} is taken as strength "
            f"{UNMEASURED[level]:g}"
        ]
    return _limited(LEVELS[level], level, removal)


def _limited(share: float, what: str, removal: NoiseRemoval) -> tuple[float, list[str]]:
    strength = removal.strength(share)
    reached = removal.removed(strength)
    if share > 0 and reached < share - 0.01:
        return strength, [
            f"strength {what} asks for {100 * share:.0f} % less noise, the model removes at most {100 * reached:.0f} % "
            "of this scan's"
        ]
    return strength, [] if share > 0 else [f"the noise of this scan is {removal.noise_hu:.3g} HU, below {what} already"]
