"""CT in the plane of rotation: projection, filtered back projection and reconstruction kernels.

Needs numba, and torch only for devices other than the CPU.

geometry = Geometry()                                     # equiangular fan of a clinical scanner
sinogram = project(hu_to_mu(hu), pixel_mm, geometry)      # hu (y, x) or (z, y, x)
image = mu_to_hu(fbp(sinogram, geometry, hu.shape[-2:], pixel_mm, kernel_named("B30")))
"""

from __future__ import annotations

import numpy as np

from bioatt.simulation.tomography.fbp import fbp
from bioatt.simulation.tomography.geometry import Beam, Geometry
from bioatt.simulation.tomography.kernels import FAMILY, Kernel, kernel_named
from bioatt.simulation.tomography.operators import backproject, project

MU_WATER = 0.0193
"""Linear attenuation of water in 1/mm at 70 keV, about the mean energy of a 120 kVp body scan (NIST XCOM)."""


def hu_to_mu(hu: np.ndarray) -> np.ndarray:
    """Attenuation in 1/mm, float32, never negative."""
    return np.maximum(MU_WATER * (1 + np.asarray(hu, np.float32) / 1000), 0)


def mu_to_hu(mu: np.ndarray) -> np.ndarray:
    """HU, float32."""
    return (np.asarray(mu, np.float32) / MU_WATER - 1) * 1000


__all__ = [
    "FAMILY",
    "MU_WATER",
    "Beam",
    "Geometry",
    "Kernel",
    "backproject",
    "fbp",
    "hu_to_mu",
    "kernel_named",
    "mu_to_hu",
    "project",
]
