"""Simulate a whole scan of a noise-free body at a given number of counts, the reference for noise insertion."""

from __future__ import annotations

import numpy as np

from bioatt.simulation.tomography import Kernel, fbp, hu_to_mu, mu_to_hu, project
from bioatt_training.simulate.scanner import Scanner


def scan_body(
    hu: np.ndarray,
    pixel_mm: float,
    *,
    counts: float,
    doses: tuple[float, ...],
    kernel: Kernel,
    rng: np.random.Generator | int = 0,
    scanner: Scanner | None = None,
) -> np.ndarray:
    """Reconstructions (dose, z, y, x) in HU of noise-free slices hu (z, y, x), float32.

    N ~ Poisson(dose · counts / e) + Normal(0, electronic variance) with e = e^p / (bow-tie · modulation); the line
    integral is −ln of N, never under half a count, over its flux. `bioatt.simulation.acquisition` uses exposure control
    instead.
    """
    scanner = scanner or Scanner()
    rng = np.random.default_rng(rng)
    geometry = scanner.geometry
    integrals = project(hu_to_mu(hu), pixel_mm, geometry)
    expected = counts / scanner.attenuation(integrals, geometry)
    flux = expected * np.exp(integrals)
    scans = []
    for dose in doses:
        measured = rng.poisson(dose * expected).astype(np.float32)
        measured += rng.normal(0, np.sqrt(scanner.electronic_variance), expected.shape).astype(np.float32)
        noisy = -np.log(np.maximum(measured, 0.5) / (dose * flux))
        scans.append(mu_to_hu(fbp(noisy, geometry, hu.shape[1:], pixel_mm, kernel, upsample=2, extend=False)))
    return np.stack(scans)
