"""Structure check: did denoising remove anatomy along with the noise? Needs no torch.

The residual R = before − after should be noise only. Two statistics test it for structure, each in units of its
standard deviation under noise with R's own correlation:

blob   R after band-pass filters (differences of Gaussians) of lesion size: detects whole objects that were removed.
edge   local sum of R times the structure of the denoised image, i.e. a local correlation of the residual with the
       remaining structure: detects reduced contrast and blurred edges.

A voxel is marked if the larger statistic exceeds the level that pure noise reaches in 1 % of scans (expected Euler
characteristic of a Gaussian field: Worsley 1992, 10.1038/jcbfm.1992.127). In a scan with little noise, the slightest
blurring of an edge is significant without being relevant, so near edges of the denoised image a band-passed residual of
at least LEAST_HU is required as well. In flat regions, which have no edges, every significant blob counts, but relative
to the full noise of the scan: a denoiser that removes a varying share of the noise leaves blobs in R that stand out
from the surrounding residual but not from the scan.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_filter, maximum_filter, minimum_filter, uniform_filter
from scipy.optimize import brentq

from bioatt.core.body import body_mask
from bioatt.core.errors import InputError
from bioatt.core.noise import CLIP_SD, robust_local_sd

Array = NDArray[np.float32]

BLOB_MM = (1.5, 3.0)
"""σ of the centre Gaussian of the blob filters; the surround's is SURROUND times as wide."""
SURROUND = 3.0
EDGE_MM = 3.0
"""σ of the Gaussian window over which the edge statistic sums."""
LEAST_HU = 3.0
"""Least response of the wider blob filter, which is a fifth to a half of the contrast of a lesion of 3 to 6 mm radius.
"""
FLAT_HU = 20.0
"""A position is flat if the denoised image varies by less than this within EDGE_MM. Vessels and fat planes vary more,
remaining noise in an organ less.
"""
FALSE_ALARMS = 0.01
LUNG_HU = -400.0
NEIGHBOURHOOD_MM = 20.0
"""Half the side of the square over which local standard deviations are measured."""
LAGS = 8
"""Largest lag in pixels of the noise autocorrelation; noise is taken as uncorrelated beyond it."""
STRUCTURE_SD = 4.0
"""Detail of the denoised image above this multiple of its remaining noise counts as structure."""


@dataclass(frozen=True)
class StructureMap:
    """Result of the check: a map of significance and the threshold above which structure was removed.

    significance: (z, y, x) in standard deviations, 0 outside the body and at edges that lost less than LEAST_HU.
    """

    significance: Array
    threshold: float

    @property
    def marks(self) -> NDArray[np.bool_]:
        """Voxels at which structure was removed."""
        return self.significance > self.threshold

    @property
    def alarm(self) -> bool:
        """Whether structure was removed anywhere."""
        return bool((self.significance > self.threshold).any())


def removed_structure(
    before: NDArray, after: NDArray, spacing: tuple[float, float, float], *, least_hu: float = LEAST_HU
) -> StructureMap:
    """Check a denoised scan for removed structure: HU before and after, axial (z, y, x); spacing (x, y, z) in mm.

    least_hu: see LEAST_HU; 0 marks everything significant. Raises InputError unless both arrays are 3D with one shape.
    """
    search = StructureSearch(before, after, spacing, least_hu=least_hu)
    for _ in search.run():
        pass
    return search.result()


class StructureSearch:
    """`removed_structure` in small steps, for programs that handle events in between."""

    def __init__(
        self, before: NDArray, after: NDArray, spacing: tuple[float, float, float], *, least_hu: float = LEAST_HU
    ) -> None:
        if before.shape != after.shape or before.ndim != 3 or not before.size:
            raise InputError(
                f"the structure check needs two volumes (z, y, x) of one shape, not {before.shape} and {after.shape}"
            )
        self.before, self.after, self.least_hu = before, after, least_hu
        self.pixel, self.thickness = (spacing[0] + spacing[1]) / 2, spacing[2]
        self.significance = np.zeros(before.shape, np.float32)
        self._correlation = self._noise_correlation()
        self._products: dict[int, tuple[Array, Array]] = {}
        self._area, self._roughness = 0, {name: [0.0, 0] for name in (*BLOB_MM, "edge")}

    def run(self) -> Iterator[float]:
        """Process the slices in order; yields the fraction done several times per slice."""
        for k in range(len(self.before)):
            for _ in self._look(k):
                yield k / len(self.before)
            yield (k + 1) / len(self.before)

    def result(self) -> StructureMap:
        """The map of the slices processed so far."""
        return StructureMap(self.significance, self._threshold())

    def _removed(self, k: int) -> Array:
        return self.before[k].astype(np.float32) - self.after[k].astype(np.float32)

    def _noise_sd(self, image: Array, regions: list[NDArray[np.bool_]]) -> Array:
        return robust_local_sd(image, regions, int(2 * NEIGHBOURHOOD_MM / self.pixel) + 1)

    def _neighbours(self, k: int, sigma_mm: float) -> list[tuple[int, float]]:
        """Slices around k and their Gaussian weights, which sum to 1."""
        reach = int(2 * sigma_mm / self.thickness)
        found = [
            (n, np.exp(-0.5 * ((n - k) * self.thickness / sigma_mm) ** 2)) for n in range(k - reach, k + reach + 1)
        ]
        found = [(n, weight) for n, weight in found if 0 <= n < len(self.before)]
        total = sum(weight for _, weight in found)
        return [(n, float(weight / total)) for n, weight in found]

    def _look(self, k: int) -> Iterator[None]:
        after = self.after[k].astype(np.float32)
        body = body_mask(after)
        if not body.any():
            return
        inner = binary_erosion(body, iterations=max(round(2 / self.pixel), 1))
        edge = max(round(2 * EDGE_MM / self.pixel), 1)  # windows across the image border contain mirrored noise
        inner[:edge], inner[-edge:], inner[:, :edge], inner[:, -edge:] = False, False, False, False
        tissues = _tissues(after)
        near = 2 * max(round(EDGE_MM / self.pixel), 1) + 1
        flat = maximum_filter(after, near) - minimum_filter(after, near) < FLAT_HU
        whole = self._whole_noise(k, [tissue & flat for tissue in tissues])
        yield
        self._area += int(inner.sum())
        best = self.significance[k]
        for sigma in BLOB_MM:
            weighted = np.zeros_like(after)
            for n, weight in self._neighbours(k, sigma):
                weighted += np.float32(weight) * self._removed(n)
            response = _band(weighted, sigma / self.pixel)
            z = response / self._noise_sd(response, tissues)
            self._measure(sigma, z, inner)
            np.maximum(best, np.abs(z) / whole, out=best)
            yield
        for n, _weight in self._neighbours(k, EDGE_MM):
            if n not in self._products:
                self._products[n] = self._product(n)
                yield
        z = self._edges(k)
        self._measure("edge", z, inner)
        # an edge loses most on either side; `response` is that of the wider blob filter
        enough = maximum_filter(np.abs(response), near) >= self.least_hu
        best *= enough | flat
        np.maximum(best, np.abs(z) * enough, out=best)
        best *= inner

    def _whole_noise(self, k: int, flat: list[NDArray[np.bool_]]) -> Array:
        """(y, x) ratio of the slice's noise to the removed noise, at least 1, from fine detail of flat regions."""
        before, removed = (
            self._noise_sd(image - gaussian_filter(image, 1.0), flat)
            for image in (self.before[k].astype(np.float32), self._removed(k))
        )
        measured = np.isfinite(before) & np.isfinite(removed)
        return np.maximum(np.divide(before, removed, out=np.ones_like(before), where=measured), 1)

    def _edges(self, k: int) -> Array:
        """Sum of w·R·D over its standard deviation; D is the structure of the denoised image."""
        total = np.zeros(self.after.shape[1:], np.float32)
        variance = np.zeros_like(total)
        neighbours = self._neighbours(k, EDGE_MM)
        for n, weight in neighbours:
            product, spread = self._products[n]
            total += weight * product
            variance += weight**2 * spread
        self._products = {n: kept for n, kept in self._products.items() if n >= neighbours[0][0]}
        floor = 1e-3 * float(variance.max())
        return np.where(variance > floor, total / np.sqrt(np.maximum(variance, floor or 1)), 0).astype(np.float32)

    def _product(self, k: int) -> tuple[Array, Array]:
        """Windowed sum of R·D in a slice, with R in units of its noise, and its variance."""
        sigma = EDGE_MM / self.pixel
        tissues = _tissues(self.after[k].astype(np.float32))
        removed, structure = self._removed(k), self._structure(k, tissues)
        noise = self._noise_sd(removed, tissues)
        spread = structure * _filtered(structure, self._correlation)
        # the squared Gaussian window is narrower by √2 and sums to 1 / (4πσ²)
        variance = gaussian_filter(spread, sigma / np.sqrt(2)) / (4 * np.pi * sigma**2)
        return gaussian_filter(removed / noise * structure, sigma), variance

    def _structure(self, k: int, tissues: list[NDArray[np.bool_]]) -> Array:
        """Detail of the denoised image beyond its remaining noise, bounded so that bone does not outweigh the rest."""
        detail = _band(np.clip(self.after[k].astype(np.float32), -1000, 400), 1.0)
        noise = STRUCTURE_SD * self._noise_sd(detail, tissues)
        return np.sign(detail) * np.clip(np.abs(detail) - noise, 0, 2 * noise)

    def _noise_correlation(self) -> Array:
        """Autocorrelation of R at lags up to ±LAGS px, from flat areas of the denoised image, as an image (y, x)."""
        height, width = self.before.shape[1:]
        size = (height + LAGS, width + LAGS)
        sums, counts = np.zeros(size), np.zeros(size)
        for k in np.unique(np.linspace(0, len(self.before) - 1, 7).astype(int)):
            after = self.after[k].astype(np.float32)
            body = body_mask(after)
            detail = np.abs(_band(after, 1.0))
            flat = body & (detail < 2 * np.median(detail[body])) if body.any() else body
            if not flat.any():
                continue
            removed = self._removed(k)
            spectrum = np.fft.rfft2(np.where(flat, removed - removed[flat].mean(), 0), size)
            mask = np.fft.rfft2(flat.astype(float), size)
            sums += np.fft.irfft2(np.abs(spectrum) ** 2, size)
            counts += np.fft.irfft2(np.abs(mask) ** 2, size)
        lags = np.arange(-LAGS, LAGS + 1)
        window = np.ix_(lags, lags)
        if not counts[0, 0] > 0.5 or not sums[0, 0] > 0:
            return np.ones((1, 1), np.float32)
        correlation = sums[window] / np.maximum(counts[window], 1)
        return (correlation / correlation[LAGS, LAGS]).astype(np.float32)

    def _measure(self, name: float | str, z: Array, inside: NDArray[np.bool_]) -> None:
        """Accumulate the variance of the gradient of z, which gives the number of independent positions."""
        step = np.diff(np.clip(z, -CLIP_SD, CLIP_SD), axis=1)[inside[:, 1:] & inside[:, :-1]]
        moving = step[step != 0]
        entry = self._roughness[name]
        entry[0] += float((moving**2).sum())
        entry[1] += moving.size

    def _threshold(self) -> float:
        """Level at which the expected number of false marks over all slices and statistics is FALSE_ALARMS."""
        roughness = [total / count for total, count in self._roughness.values() if count]
        if not roughness:
            return float("inf")
        places = self._area * sum(roughness) * 2 / (2 * np.pi) ** 1.5  # both signs
        return float(brentq(lambda u: places * u * np.exp(-u * u / 2) - FALSE_ALARMS, 1, 40)) if places > 1 else 4.0


def _tissues(after: Array) -> list[NDArray[np.bool_]]:
    """Masks of the lung and the rest of the body, whose noise differs."""
    body, lung = body_mask(after), uniform_filter(after, 3) < LUNG_HU
    return [body & lung, body & ~lung]


def _band(image: Array, sigma: float) -> Array:
    return gaussian_filter(image, sigma) - gaussian_filter(image, SURROUND * sigma)


def _filtered(image: Array, kernel: Array) -> Array:
    """Correlation with a small symmetric kernel by FFT."""
    reach = kernel.shape[0] // 2
    size = tuple(n + 2 * reach for n in image.shape)
    product = np.fft.irfft2(np.fft.rfft2(image, size) * np.fft.rfft2(kernel, size), size)
    return product[reach : reach + image.shape[0], reach : reach + image.shape[1]].astype(np.float32)
