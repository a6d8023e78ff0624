"""Filtering of views before back projection: weights, ramp and kernel, extrapolation beyond the detector.

Parallel, flat and equiangular fans after Kak & Slaney, Principles of Computerized Tomographic Imaging, ch. 3.
"""

from __future__ import annotations

import numpy as np
import scipy.fft

from bioatt.simulation.tomography.geometry import Beam, Geometry
from bioatt.simulation.tomography.kernels import Kernel


def filter_response(geometry: Geometry, kernel: Kernel | None, upsample: int = 1) -> tuple[np.ndarray, int]:
    """Frequency response of ramp · kernel for one view, and the length of the corresponding transform.

    The ramp is sampled in space (for a correct mean), includes the factor (γ/sin γ)² of the equiangular fan, and
    compensates for the linear interpolation of the back projection. kernel None is the bare ramp (Ram-Lak).
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


def view_weight(geometry: Geometry) -> np.ndarray:
    """Weight (cells,) float32 of each cell, times that of a view in the sum over the turn."""
    u = geometry.positions
    weight = np.ones(geometry.cells)
    if geometry.beam == Beam.FLAT:
        weight = geometry.source_mm / np.hypot(geometry.source_mm, u)
    elif geometry.beam == Beam.ARC:
        weight = np.cos(u) / geometry.source_mm
    turn = np.pi if geometry.beam == Beam.PARALLEL else 2 * np.pi
    return (weight * (turn / geometry.views)).astype(np.float32)


def edge_fall(room: int) -> np.ndarray:
    """Weights (room,) float32 falling smoothly from 1 to 0, to extrapolate views beyond the detector's last cell."""
    return (0.5 + 0.5 * np.cos(np.linspace(0, np.pi, room + 2)[1:-1])).astype(np.float32)
