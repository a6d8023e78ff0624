"""Filtered back projection for parallel, flat and equiangular fans (Kak & Slaney, Principles of CT Imaging, ch. 3)."""

from __future__ import annotations

import numpy as np
import scipy.fft

from bioatt.tomography.geometry import Beam, Geometry
from bioatt.tomography.kernels import Kernel
from bioatt.tomography.operators import backproject


def filter_response(geometry: Geometry, kernel: Kernel | None, upsample: int = 1) -> tuple[np.ndarray, int]:
    """Frequency response of ramp · kernel for one view, and the length of the transform it belongs to.

    The ramp is sampled in space (so that the mean is right), carries the (γ/sin γ)² of the equiangular fan, and undoes
    the loss of the back projection's linear interpolation. kernel None is the bare ramp (Ram-Lak).
    """
    length = scipy.fft.next_fast_len(2 * geometry.cells, real=True)
    n = np.minimum(np.arange(length), length - np.arange(length))
    taps = np.zeros(length)
    taps[0] = 0.25
    odd = n % 2 == 1
    taps[odd] = -1 / (np.pi * n[odd]) ** 2
    if geometry.beam == Beam.ARC:
        gamma = n * geometry.step
        inside = (n > 0) & (gamma < np.pi / 2)
        taps[inside] *= (gamma[inside] / np.sin(gamma[inside])) ** 2
    response = scipy.fft.rfft(taps).real / geometry.step
    if geometry.beam != Beam.PARALLEL:
        response /= 2
    frequency = scipy.fft.rfftfreq(length, geometry.pitch_mm)
    response /= np.sinc(frequency * geometry.pitch_mm / upsample) ** 2
    if kernel is not None:
        response *= kernel.response(frequency)
    return response.astype(np.float32), length


def filter_views(
    sinogram: np.ndarray, geometry: Geometry, kernel: Kernel | None, *, upsample: int = 1, extend: bool = True
) -> np.ndarray:
    """Weighted and filtered views (…, views, cells · upsample), scaled so that `backproject` gives the image.

    `extend` continues the views smoothly beyond the detector, which keeps a body wider than the field from shining at
    the edge.
    """
    cells = geometry.cells
    response, length = filter_response(geometry, kernel, upsample)
    u = geometry.positions
    weight = np.ones(cells)
    if geometry.beam == Beam.FLAT:
        weight = geometry.source_mm / np.hypot(geometry.source_mm, u)
    elif geometry.beam == Beam.ARC:
        weight = np.cos(u) / geometry.source_mm
    turn = np.pi if geometry.beam == Beam.PARALLEL else 2 * np.pi
    weighted = sinogram * (weight * (turn / geometry.views)).astype(np.float32)
    if extend:
        room = (length - cells) // 2
        fall = (0.5 + 0.5 * np.cos(np.linspace(0, np.pi, room + 2)[1:-1])).astype(np.float32)
        row = np.zeros((*weighted.shape[:-1], length), np.float32)
        row[..., :cells] = weighted
        row[..., cells : cells + room] = weighted[..., -4:].mean(-1, keepdims=True) * fall
        row[..., length - room :] = weighted[..., :4].mean(-1, keepdims=True) * fall[::-1]
        weighted = row
    spectrum = scipy.fft.rfft(weighted, length, axis=-1, workers=-1)
    spectrum *= response
    if upsample > 1:
        spectrum *= upsample
    filtered = scipy.fft.irfft(spectrum, length * upsample, axis=-1, workers=-1)
    return filtered[..., : cells * upsample].astype(np.float32, copy=False)


def fbp(
    sinogram: np.ndarray,
    geometry: Geometry,
    shape: tuple[int, int],
    pixel_mm: float,
    kernel: Kernel | None = None,
    *,
    centre_mm: tuple[float, float] = (0.0, 0.0),
    upsample: int = 1,
    extend: bool = True,
) -> np.ndarray:
    """Image (y, x), or stack (z, y, x), in 1/mm from line integrals (views, cells) or (z, views, cells). float32.

    upsample=2 interpolates the filtered views by Fourier transform first: finer texture for sharp kernels.
    """
    filtered = filter_views(np.asarray(sinogram, np.float32), geometry, kernel, upsample=upsample, extend=extend)
    return backproject(filtered, geometry, shape, pixel_mm, centre_mm=centre_mm, upsample=upsample)
