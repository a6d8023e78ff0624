"""Filtered back projection for parallel, flat and equiangular fans (Kak & Slaney, Principles of CT Imaging, ch. 3)."""

from __future__ import annotations

import numpy as np
import scipy.fft

from bioatt.simulation.tomography.geometry import Geometry
from bioatt.simulation.tomography.kernels import Kernel
from bioatt.simulation.tomography.operators import as_stack, backproject, check_pixel, check_views
from bioatt.simulation.tomography.response import edge_fall, filter_response, view_weight


def filter_views(
    sinogram: np.ndarray, geometry: Geometry, kernel: Kernel | None, *, upsample: int = 1, extend: bool = True
) -> np.ndarray:
    """Weighted and filtered views (…, views, cells · upsample), scaled so that `backproject` gives the image.

    `extend` extrapolates the views smoothly beyond the detector, which avoids a bright rim if the body exceeds the
    field of view.
    """
    cells = geometry.cells
    response, length = filter_response(geometry, kernel, upsample)
    weighted = sinogram * view_weight(geometry)
    if extend:
        room = (length - cells) // 2
        fall = edge_fall(room)
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
    device: str = "cpu",
) -> np.ndarray:
    """Image (y, x), or stack (z, y, x), in 1/mm from line integrals (views, cells) or (z, views, cells). float32.

    upsample=2 first interpolates the filtered views by Fourier transform, for finer texture with sharp kernels.
    device: as in `project`. Raises InputError as `backproject`.
    """
    sinogram = np.asarray(sinogram, np.float32)
    if device != "cpu":
        from bioatt.simulation.tomography import on_torch  # imported here because only GPUs need torch

        stack, single = as_stack(sinogram, "a sinogram")
        check_pixel(pixel_mm)
        check_views(stack, geometry)
        images = on_torch.fbp(stack, geometry, shape, pixel_mm, kernel, centre_mm, upsample, extend, device)
        return images[0] if single else images
    filtered = filter_views(sinogram, geometry, kernel, upsample=upsample, extend=extend)
    return backproject(filtered, geometry, shape, pixel_mm, centre_mm=centre_mm, upsample=upsample)
