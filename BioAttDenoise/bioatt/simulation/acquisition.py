"""Simulated CT scan of a noise-free body, with noise in the projection domain.

Line integrals p → counts N ~ Poisson(a · I0 · b · e^−p) + Normal(0, electronic noise) → −ln → filtered back projection,
with dose fraction a and bow-tie b. The beam is monoenergetic, without beam hardening or scatter. Needs numba, no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bioatt.core.errors import Cancelled, InputError
from bioatt.core.volume import Volume
from bioatt.simulation.tomography import MU_WATER, Geometry, fbp, hu_to_mu, kernel_named, mu_to_hu, project
from bioatt.simulation.tomography.fbp import filter_views

CHUNK = 16  # slices that `tomography` processes together


@dataclass(frozen=True)
class Scanner:
    """Scanner and acquisition parameters.

    noise_index: target of exposure control, the standard deviation (HU) at the isocentre of each slice at full dose.
    bowtie: attenuation (as a line integral) that the bow-tie filter adds at the edge of the fan.
    electronic_sd: standard deviation of the read-out noise, in counts.
    counts: range of unattenuated counts per ray that the tube can deliver.
    """

    geometry: Geometry = field(default_factory=Geometry)
    kernel: str = "B30"
    noise_index: float = 20.5
    bowtie: float = 1.5
    electronic_sd: float = 3.2
    counts: tuple[float, float] = (5e3, 2e6)

    def profile(self) -> np.ndarray:
        """Transmission of the bow-tie filter, (cells,)."""
        position = self.geometry.positions / np.abs(self.geometry.positions).max()
        return np.exp(-self.bowtie * position**2).astype(np.float32)

    def exposure(self, integrals: np.ndarray) -> np.ndarray:
        """Counts (z, 1, 1) of an unattenuated central ray that reach the noise index; integrals (z, views, cells).

        The variance at the isocentre is the sum over views and cells of var(p) = e^p / (I0 b), weighted by the squared
        response of filter and back projection to the ray, which linear interpolation averages over a cell.
        """
        g = self.geometry
        ray = np.zeros((1, g.cells), np.float32)
        centre = int(np.argmin(np.abs(g.positions)))
        ray[0, centre] = 1
        response = filter_views(ray, g, kernel_named(self.kernel))[0]
        weights = np.roll(response[::-1], 2 * centre + 1 - g.cells)
        following = np.roll(weights, 1)
        spread = (weights**2 + weights * following + following**2) / 3
        noise = np.exp(np.minimum(integrals, 12)) / self.profile()
        variance = (noise.mean(1) @ spread) * g.views
        counts = variance / (self.noise_index / 1000 * MU_WATER) ** 2
        return np.clip(counts, *self.counts)[:, None, None]


def scan(
    body: Volume,
    doses: Sequence[float] = (0.25,),
    *,
    scanner: Scanner | None = None,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[Volume, list[Volume]]:
    """Simulate a noise-free scan of a noise-free body (HU), and one noisy scan per dose fraction.

    Results are int16 HU on the body's grid. All share projections, kernel and grid, so the noise-free scan is the
    output of a perfect denoiser. Raises InputError for a dose that is not positive or a body outside the field of view.
    """
    scanner = scanner or Scanner()
    if any(not 0 < dose <= 10 for dose in doses):
        raise InputError(f"dose fractions must be above 0, not {', '.join(map(str, doses))}")
    count, height, width = body.shape
    if body.pixel_mm * min(height, width) > scanner.geometry.field_mm * 1.2:
        raise InputError(
            f"the body's grid exceeds the field of view of {scanner.geometry.field_mm:.0f} mm: make it smaller"
        )
    kernel = kernel_named(scanner.kernel)
    bowtie = scanner.profile()
    reference = np.empty(body.shape, np.int16)
    noisy = [np.empty(body.shape, np.int16) for _ in doses]

    def reconstruct(integrals: np.ndarray) -> np.ndarray:
        image = fbp(integrals, scanner.geometry, (height, width), body.pixel_mm, kernel)
        return np.clip(np.rint(mu_to_hu(image)), -1024, 3071).astype(np.int16)

    for first in range(0, count, CHUNK):
        part = slice(first, min(first + CHUNK, count))
        integrals = project(hu_to_mu(body.hu[part]), body.pixel_mm, scanner.geometry)
        flux = scanner.exposure(integrals) * bowtie
        reference[part] = reconstruct(integrals)
        for k, dose in enumerate(doses):
            if cancelled is not None and cancelled():
                raise Cancelled("the simulated scan was cancelled")
            # one random stream per slice, so that the noise does not depend on how slices are grouped
            noise = [np.random.default_rng([seed, k, index]) for index in range(part.start, part.stop)]
            low = [_measure(rng, p, dose * i, scanner) for rng, p, i in zip(noise, integrals, flux, strict=True)]
            noisy[k][part] = reconstruct(np.stack(low))
        if progress is not None:
            progress(part.stop / count)
    acquisition = replace(body.acquisition, kernel=scanner.kernel, kvp=None, modality="CT")
    scans = [replace(body, hu=hu, acquisition=acquisition, slice_ids=(), storage="") for hu in (reference, *noisy)]
    return scans[0], scans[1:]


def repeated(
    body: Volume, dose: float, count: int, *, scanner: Scanner | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Simulate a noise-free scan (y, x) of a single-slice body, and `count` scans (count, y, x) with independent noise.

    float32 HU, neither rounded nor clipped, so that a signal can be added later (filtered back projection is linear).
    Raises InputError for a body of several slices.
    """
    scanner = scanner or Scanner()
    if body.shape[0] != 1:
        raise InputError(f"the body must have one slice, not {body.shape[0]}")
    shape, kernel = (body.shape[1], body.shape[2]), kernel_named(scanner.kernel)
    integrals = project(hu_to_mu(body.hu), body.pixel_mm, scanner.geometry)
    flux = (scanner.exposure(integrals) * scanner.profile())[0]
    found = np.empty((count, *shape), np.float32)
    for first in range(0, count, CHUNK):
        part = range(first, min(first + CHUNK, count))
        views = [_measure(np.random.default_rng([seed, k]), integrals[0], dose * flux, scanner) for k in part]
        found[part.start : part.stop] = mu_to_hu(fbp(np.stack(views), scanner.geometry, shape, body.pixel_mm, kernel))
    return mu_to_hu(fbp(integrals[0], scanner.geometry, shape, body.pixel_mm, kernel)), found


def _measure(rng: np.random.Generator, integrals: np.ndarray, flux: np.ndarray, scanner: Scanner) -> np.ndarray:
    """Line integrals measured with `flux` unattenuated counts per ray."""
    mean = flux * np.exp(-integrals)
    counts = rng.poisson(mean) + rng.normal(0, scanner.electronic_sd, mean.shape)
    return -np.log(np.maximum(counts, 0.5) / flux).astype(np.float32)
