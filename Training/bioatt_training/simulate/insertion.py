"""Noise insertion into existing CT images: low dose from normal dose (Yu 2012, 10.1097/RCT.0b013e3182639b1b).

Only the noise is reconstructed and added, so the scan keeps its resolution, its kernel and its own noise. For a dose
fraction a, noise with the difference of the variances at low and full dose is added to the line integrals, v(a) − v(1)
= (1−a)/a · e^p/I0 · (1 + (1+a)/a · Ne · e^p/I0), with the electronic noise Ne. I0 is unknown for an image: it is solved
from the noise measured in the scan's soft tissue, slice by slice, which also tracks tube current modulation along the
patient. Single energy, no scatter.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bioatt.core.errors import InputError
from bioatt.simulation.tomography import Geometry, Kernel, hu_to_mu, kernel_named, project
from bioatt_training.simulate.scanner import Scanner
from bioatt_training.simulate.texture import estimate_kernel
from bioatt_training.simulate.tissue import mode, slice_noise, soft_tissue
from bioatt_training.simulate.truncation import complete_body
from bioatt_training.simulate.white import noise_image, propagated, texture_gain

BIN = 4  # attenuation is smooth: its map uses pixels, cells and views this much coarser
CHUNK = 16  # slices that `tomography` processes together


class Insertion(NamedTuple):
    """hu_low and noise (z, y, x) float32 HU; per slice (z,) the scan's own noise in HU and I0; the kernel used."""

    hu_low: np.ndarray
    noise: np.ndarray
    noise_full: np.ndarray
    counts: np.ndarray
    kernel: Kernel


def insert_noise(
    hu: np.ndarray,
    pixel_mm: float,
    *,
    dose_fraction: float,
    kernel: str | Kernel = "auto",
    rng: np.random.Generator | int = 0,
    noise_hu: float | np.ndarray | None = None,
    slice_thickness_mm: float | None = None,
    spacing_mm: float | None = None,
    scanner: Scanner | None = None,
    device: str = "cpu",
) -> Insertion:
    """Low-dose version of a volume.

    hu (z, y, x) in HU, axial slices, pixel_mm in plane; 0 < dose_fraction < 1 of the dose the scan was made with.
    kernel: a `Kernel`, a name of the family or a vendor's name, or "auto" to fit it to the scan's own noise spectrum.
    noise_hu: the scan's noise as measured by `bioatt.core.noise.noise_sd`, for all slices or (z,); measured if not
    given. Slices thicker than their spacing share noise. The result depends on rng, not on how slices are grouped.
    device: for projection and reconstruction, "cpu" or a GPU known to PyTorch.

    Raises InputError for a dose outside (0, 1), for volumes that are not (z, y, x) or not finite, without both noise_hu
    and soft tissue to measure it, and for an unavailable device.
    """
    hu = np.asarray(hu, np.float32)
    scanner = scanner or Scanner()
    if not 0 < dose_fraction < 1:
        raise InputError(f"dose fraction {dose_fraction:g}: give a value between 0 and 1, noise can only be added")
    if hu.ndim != 3 or 0 in hu.shape or not np.isfinite(hu).all():
        raise InputError(f"noise insertion needs a finite volume (z, y, x), not one of shape {hu.shape}")
    sigma = np.broadcast_to(slice_noise(hu) if noise_hu is None else np.asarray(noise_hu, float), len(hu)).copy()
    if not (np.isfinite(sigma).all() and (sigma > 0).all()):
        raise InputError("the scan's noise must be a positive number of HU")
    if isinstance(kernel, str):
        kernel = estimate_kernel(hu, pixel_mm, sigma) if kernel == "auto" else kernel_named(kernel)
    share = slice_sharing(slice_thickness_mm, spacing_mm)
    streams = np.random.default_rng(rng).spawn(len(hu) + len(share) - 1)
    noise = np.empty_like(hu)
    counts = np.empty(len(hu))
    gain = texture_gain(scanner.geometry, kernel, round(pixel_mm, 3))
    for first in range(0, len(hu), CHUNK):
        part = slice(first, min(first + CHUNK, len(hu)))
        coarse, attenuation = _attenuation(hu[part], pixel_mm, scanner, device)
        counts[part] = _calibrated(hu[part], pixel_mm, attenuation, coarse, sigma[part] / gain, scanner, dose_fraction)
        flux = counts[part, None, None].astype(np.float32)
        extra = scanner.variance(attenuation, flux, dose_fraction) - scanner.variance(attenuation, flux, 1.0)
        views = _white(streams[first : part.stop + len(share) - 1], share, scanner.geometry)
        views *= _refined(np.sqrt(np.maximum(extra, 0)), coarse, scanner.geometry)
        noise[part] = noise_image(views, scanner.geometry, hu.shape[1:], pixel_mm, kernel, device=device)
    return Insertion(np.clip(hu + noise, -1024, None), noise, sigma, counts, kernel)


def slice_sharing(thickness_mm: float | None, spacing_mm: float | None) -> np.ndarray:
    """Weights of a slice over independent noise planes one spacing apart; their squares sum to 1.

    They are the overlap of a slice's box profile with each plane, so noise of overlapping slices is correlated.
    """
    if not thickness_mm or not spacing_mm or thickness_mm <= spacing_mm:
        return np.ones(1, np.float32)
    planes = int(np.ceil(thickness_mm / spacing_mm))
    weights = np.clip(thickness_mm / spacing_mm - np.arange(planes), 0, 1)
    return (weights / np.linalg.norm(weights)).astype(np.float32)


def _attenuation(hu: np.ndarray, pixel_mm: float, scanner: Scanner, device: str) -> tuple[Geometry, np.ndarray]:
    """Coarse views of e^p / (bow-tie · modulation), (z, views, cells), and their geometry."""
    coarse = scanner.geometry.coarser(BIN, BIN)
    body = complete_body(hu, pixel_mm, scanner.geometry.field_mm)
    integrals = project(_binned(hu_to_mu(body)), BIN * pixel_mm, coarse, device=device)
    return coarse, scanner.attenuation(integrals, coarse)


def _binned(image: np.ndarray) -> np.ndarray:
    """Means over BIN × BIN pixels, (z, y, x); the last rows and columns are padded with air."""
    height, width = (-(-n // BIN) for n in image.shape[1:])
    pad = ((0, 0), (0, height * BIN - image.shape[1]), (0, width * BIN - image.shape[2]))
    return np.pad(image, pad).reshape(len(image), height, BIN, width, BIN).mean((2, 4))


def _calibrated(
    hu: np.ndarray,
    pixel_mm: float,
    attenuation: np.ndarray,
    coarse: Geometry,
    sigma: np.ndarray,
    scanner: Scanner,
    dose: float,
) -> np.ndarray:
    """(z,) I0 that adds a variance of (1/dose − 1) · sigma² to the scan's soft tissue, sigma per unit of
    `texture_gain`.

    Solves sigma² = V(e^p)/I0 + (1 + 1/dose) · Ne · V(e^2p)/I0², with V as in `propagated` at the mode of the tissue's
    noise, which `noise_sd` measures.
    """
    shape = (-(-hu.shape[1] // BIN), -(-hu.shape[2] // BIN))
    views = coarse.views / scanner.geometry.views
    quantum = propagated(attenuation, coarse, shape, BIN * pixel_mm) * views
    electronic = propagated(attenuation**2, coarse, shape, BIN * pixel_mm) * views
    counts = np.empty(len(hu))
    for index, plane in enumerate(hu):
        inside = np.pad(soft_tissue(plane), [(0, BIN * n - m) for n, m in zip(shape, plane.shape, strict=True)])
        where = inside[BIN // 2 :: BIN, BIN // 2 :: BIN]
        if not where.any():
            where[:] = True
        v1 = mode(np.sqrt(quantum[index][where])) ** 2
        near = where & (abs(quantum[index] / v1 - 1) < 0.1)
        v2 = float(np.median(electronic[index][near])) * scanner.electronic_variance * (1 + 1 / dose)
        counts[index] = (v1 + np.sqrt(v1 * v1 + 4 * v2 * sigma[index] ** 2)) / (2 * sigma[index] ** 2)
    return counts


def _refined(coarse_views: np.ndarray, coarse: Geometry, fine: Geometry) -> np.ndarray:
    """Interpolate coarse views (z, views, cells) linearly to the cells and views of `fine`."""
    cells = _interpolation(coarse.positions, fine.positions)
    period = coarse.views
    angles = np.append(coarse.angles, 2 * np.pi)
    views = _interpolation(angles, fine.angles)
    views[:, 0] += views[:, period]
    return views[:, :period] @ (coarse_views @ cells.T)


def _interpolation(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(wanted, known) float32 matrix of linear interpolation, constant beyond the ends."""
    return np.stack([np.interp(wanted, known, row) for row in np.eye(len(known))], 1).astype(np.float32)


def _white(streams: list[np.random.Generator], share: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Unit-variance noise views (z, views, cells); the number of slices is that of streams minus the shared planes."""
    size = (geometry.views, geometry.cells)
    planes = [stream.standard_normal(size, np.float32) for stream in streams]
    if len(share) == 1:
        return np.stack(planes)
    slices = len(planes) - len(share) + 1
    return np.stack([sum(w * planes[z + k] for k, w in enumerate(share)) for z in range(slices)])
