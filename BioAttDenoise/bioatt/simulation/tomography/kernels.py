"""Reconstruction kernels: factor on the ramp filter by spatial frequency in 1/mm at the isocentre.

The family is parametric and ranges from smooth to sharp, as vendors' kernels do; the names give the position in that
order. It is not any vendor's filter.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from bioatt.core.errors import InputError


@dataclass(frozen=True)
class Kernel:
    """Apodisation exp(−ln 2 · (f/f50)^n) · (1 + boost · exp(−((f − boost_at)/boost_at)² · 2)), with n such that it
    falls to 0.1 at f10.

    f50, f10 and boost_at in 1/mm; `boost` > 0 enhances edges, as lung and bone kernels do.
    """

    name: str
    f50: float
    f10: float
    boost: float = 0.0
    boost_at: float = 0.45

    def __post_init__(self) -> None:
        if not (0 < self.f50 < self.f10 and self.boost_at > 0 and self.boost >= 0):
            raise InputError("a kernel needs 0 < f50 < f10 and boost >= 0")

    def response(self, frequency: np.ndarray) -> np.ndarray:
        """Apodisation at `frequency` (1/mm, any shape, >= 0)."""
        exponent = math.log(math.log2(10)) / math.log(self.f10 / self.f50)
        edge = self.boost * np.exp(-2 * ((frequency - self.boost_at) / self.boost_at) ** 2)
        floor = self.boost * math.exp(-2)  # preserves the mean of the image
        return np.exp(-math.log(2) * (frequency / self.f50) ** exponent) * (1 + edge - floor)


FAMILY = {
    kernel.name: kernel
    for kernel in (
        Kernel("B10", 0.22, 0.42),
        Kernel("B20", 0.27, 0.50),
        Kernel("B30", 0.33, 0.61),
        Kernel("SOFT", 0.33, 0.57),
        Kernel("B40", 0.38, 0.67),
        Kernel("STANDARD", 0.40, 0.68),
        Kernel("B45", 0.45, 0.75),
        Kernel("DETAIL", 0.48, 0.80),
        Kernel("D45", 0.50, 0.78, 0.2, 0.35),
        Kernel("B50", 0.55, 0.85),
        Kernel("B60", 0.65, 0.98),
        Kernel("B70", 0.80, 1.10),
        Kernel("LUNG", 0.66, 0.95, 0.6, 0.45),
        Kernel("BONE", 0.80, 1.10, 0.4, 0.55),
    )
}


def kernel_named(name: str) -> Kernel:
    """Map a vendor's kernel name (ConvolutionKernel) to the family: B31f → B30, D → DETAIL, I50s\\2 → B50, FC13 → B30 …

    Raises InputError for an unrecognised name.
    """
    text = name.strip().upper()
    text = _PHILIPS.get(text, text)
    if text in FAMILY:
        return FAMILY[text]
    for prefix, target in _VENDOR_WORDS:
        if text.startswith(prefix):
            return FAMILY[target]
    if match := re.search(r"FC(\d\d)", text):  # Canon: 01-19 body, 20-29 head, 30 and more bone, 50 and more lung
        decade = int(match[1]) // 10
        return FAMILY[{0: "B20", 1: "B30", 2: "B40", 3: "B70"}.get(decade, "LUNG")]
    if match := re.search(r"[A-Z](\d\d)[A-Z]?\b", text):  # Siemens: the number gives the sharpness
        sharpness = min(max(int(match[1]), 10), 70)
        return FAMILY["B45" if 43 <= sharpness <= 47 else f"B{sharpness // 10}0"]
    raise InputError(f"unknown reconstruction kernel {name!r}: use one of {', '.join(FAMILY)}, or auto")


_VENDOR_WORDS = (
    ("STAND", "STANDARD"),
    ("SOFT", "SOFT"),
    ("DETAIL", "DETAIL"),
    ("CHEST", "DETAIL"),
    ("LUNG", "LUNG"),
    ("BONE", "BONE"),
    ("EDGE", "BONE"),
)
_PHILIPS = {"A": "B20", "B": "B30", "C": "B40", "D": "DETAIL", "E": "LUNG", "YA": "B30", "YB": "B40", "L": "LUNG"}
