"""Strength by organ: s(x, y) = Σ pₙ sₙ + p(none) · s, so that strengths blend at organ borders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bioatt.anatomy.descriptors import ANATOMY_SET, load_descriptor_set
from bioatt.core.errors import InputError
from bioatt.core.strength import check_strength

if TYPE_CHECKING:
    from bioatt.anatomy.sources import OrganProbabilities


def parse_organ_strength(text: str) -> dict[str, float]:
    """Parse "lungs=0.5,liver=1" into strengths by organ. Raises InputError for anything else."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, sign, number = part.partition("=")
        try:
            strength = float(number)
        except ValueError:
            sign = ""
        if not sign or not name.strip():
            raise InputError(f"strength by organ {part.strip()!r}: give ORGAN=0..1, e.g. lungs=0.5,liver=1")
        if name.strip() in found:
            raise InputError(f"strength by organ names {name.strip()} twice: give it once")
        found[name.strip()] = strength
    return checked_organ_strength(found)


def checked_organ_strength(by_organ: Mapping[str, float]) -> dict[str, float]:
    """Strengths under the organs' canonical names. Raises InputError for unknown organs and values outside 0 to 1."""
    known = load_descriptor_set(ANATOMY_SET)
    checked: dict[str, float] = {}
    for name, strength in by_organ.items():
        organ = known.descriptors[known.column_named(name)]
        if organ in checked:
            raise InputError(f"strength by organ names {organ} twice: give it once")
        check_strength(strength)
        checked[organ] = float(strength)
    return checked


@dataclass(frozen=True)
class StrengthMap:
    """Strength at each pixel of a volume's slices.

    by_organ: from `checked_organ_strength`; other organs, and pixels without an organ, get `strength`.
    index: the part (z, y, x) of the organs' volume to denoise.
    """

    organs: OrganProbabilities
    by_organ: Mapping[str, float]
    strength: float
    index: tuple[slice, slice, slice]

    def __call__(self, k: int) -> NDArray[np.float32]:
        """(y, x) of slice k of the part."""
        z, y, x = self.index
        field = np.full((y.stop - y.start, x.stop - x.start), self.strength, np.float32)
        for name, strength in self.by_organ.items():
            if strength != self.strength:
                p = self.organs.organ(z.start + k, self.organs.descriptors.index(name))
                field += np.float32(strength - self.strength) * p[y, x]
        return field
