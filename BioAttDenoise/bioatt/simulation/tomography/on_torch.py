"""Projection and filtered back projection with PyTorch: the same sums as the compiled loops, for GPUs.

Rays and views are processed in groups of bounded memory, with all slices of a stack at once. Values are interpolated by
`grid_sample`, whose coordinates run from −1 to 1 over an axis: position p from the centre of n pixels is 2p/n.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from bioatt.compute.device import choose
from bioatt.simulation.tomography.geometry import Beam, Geometry
from bioatt.simulation.tomography.kernels import Kernel
from bioatt.simulation.tomography.response import edge_fall, filter_response, view_weight

SAMPLES = 1 << 25
"""Elements in the largest arrays of a group: 128 MiB of float32 each."""


def project(
    stack: np.ndarray, pixel_mm: float, geometry: Geometry, centre_mm: tuple[float, float], device: str
) -> np.ndarray:
    """Line integrals (z, views, cells) of images (z, y, x), as `operators.project`; float32. InputError as there."""
    return _projected(_on_device(stack, device), pixel_mm, geometry, centre_mm).cpu().numpy()


def fbp(
    stack: np.ndarray,
    geometry: Geometry,
    shape: tuple[int, int],
    pixel_mm: float,
    kernel: Kernel | None,
    centre_mm: tuple[float, float],
    upsample: int,
    extend: bool,
    device: str,
) -> np.ndarray:
    """Images (z, y, x) from sinograms (z, views, cells), as `fbp.fbp`; float32. InputError as there."""
    views = _filtered(_on_device(stack, device), geometry, kernel, upsample, extend)
    return _backprojected(views, geometry, shape, pixel_mm, centre_mm, upsample).cpu().numpy()


def _projected(images: Tensor, pixel_mm: float, geometry: Geometry, centre_mm: tuple[float, float]) -> Tensor:
    """Joseph's method: steep rays step along the rows, the others along the columns."""
    cosine, sine = (_like(images, function(geometry.angles))[:, None] for function in (np.cos, np.sin))
    (px, py), (dx, dy) = (_like(images, array).T for array in geometry.rays())
    x = ((px * cosine - py * sine - centre_mm[0]) / pixel_mm).ravel()
    y = ((px * sine + py * cosine - centre_mm[1]) / pixel_mm).ravel()
    dx, dy = (dx * cosine - dy * sine).ravel(), (dx * sine + dy * cosine).ravel()
    views = images.new_empty(len(images), len(x))
    steep = dy.abs() >= dx.abs()
    for rays, planes, along, across, d_along, d_across in (
        (steep, images, y, x, dy, dx),
        (~steep, images.transpose(1, 2), x, y, dx, dy),
    ):
        slope = d_across[rays] / d_along[rays]
        sums = _sums_along(planes, across[rays] - along[rays] * slope, slope)
        views[:, rays] = sums * torch.sqrt(1 + slope**2) * pixel_mm
    return views.view(len(images), geometry.views, geometry.cells)


def _sums_along(planes: Tensor, start: Tensor, slope: Tensor) -> Tensor:
    """Sums (z, rays) over the rows of planes (z, rows, columns) at columns start + slope · row from the centre."""
    count, rows, columns = planes.shape
    row = torch.arange(rows, device=planes.device) - (rows - 1) / 2
    sums = planes.new_empty(count, len(start))
    group = max(1, SAMPLES // (rows * (count + 2)))
    for first in range(0, len(start), group):
        part = slice(first, first + group)
        column = start[part, None] + slope[part, None] * row
        grid = torch.stack([column * (2 / columns), (row * (2 / rows)).expand_as(column)], -1)
        sums[:, part] = grid_sample(planes[None], grid[None], align_corners=False)[0].sum(-1)
    return sums


def _backprojected(
    sinogram: Tensor,
    geometry: Geometry,
    shape: tuple[int, int],
    pixel_mm: float,
    centre_mm: tuple[float, float],
    upsample: int,
) -> Tensor:
    """Images (z, y, x): for every pixel the sum over the views of distance weight · interpolated value."""
    count, views, cells = sinogram.shape
    y, x = (
        _like(sinogram, (np.arange(n) - (n - 1) / 2) * pixel_mm + middle)
        for n, middle in zip(shape, centre_mm[::-1], strict=True)
    )
    cosine, sine = (_like(sinogram, function(geometry.angles))[:, None, None] for function in (np.cos, np.sin))
    image = sinogram.new_zeros(count, *shape)
    group = max(1, SAMPLES // (shape[0] * shape[1] * (count + 2)))
    for first in range(0, views, group):
        part = slice(first, first + group)
        c, s = cosine[part], sine[part]
        position, weight = _detector(geometry, x * c + y[:, None] * s, geometry.source_mm - x * s + y[:, None] * c)
        cell = (position - geometry.positions[0]) * (upsample / geometry.step)
        weight = torch.where((cell >= 0) & (cell <= cells - 1), weight, 0)
        grid = torch.stack([(2 * cell + 1) / cells - 1, torch.zeros_like(cell)], -1)
        rows = sinogram[:, part].transpose(0, 1)[:, :, None]
        values = grid_sample(rows, grid, padding_mode="border", align_corners=False)
        image += values.mul_(weight[:, None]).sum(0)
    return image


def _detector(geometry: Geometry, across: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
    """Detector position and distance weight of points `across` the central ray and `along` it from the source, mm."""
    if geometry.beam == Beam.PARALLEL:
        return across, torch.ones_like(across)
    if geometry.beam == Beam.FLAT:
        scale = geometry.source_mm / along
        return across * scale, scale**2
    return torch.atan(across / along), geometry.source_mm**2 / (along**2 + across**2)


def _filtered(sinogram: Tensor, geometry: Geometry, kernel: Kernel | None, upsample: int, extend: bool) -> Tensor:
    """(z, views, cells · upsample), as `fbp.filter_views`."""
    cells = geometry.cells
    response, length = filter_response(geometry, kernel, upsample)
    weighted = sinogram * _like(sinogram, view_weight(geometry))
    if extend:
        fall = _like(sinogram, edge_fall((length - cells) // 2))
        ends = weighted[..., -4:].mean(-1, keepdim=True) * fall, weighted[..., :4].mean(-1, keepdim=True) * fall.flip(0)
        gap = weighted.new_zeros(*weighted.shape[:-1], length - cells - 2 * len(fall))
        weighted = torch.cat([weighted, ends[0], gap, ends[1]], -1)
    spectrum = torch.fft.rfft(weighted, length) * _like(sinogram, response * upsample)
    return torch.fft.irfft(spectrum, length * upsample)[..., : cells * upsample]


def _on_device(stack: np.ndarray, device: str) -> Tensor:
    return torch.as_tensor(np.ascontiguousarray(stack, np.float32)).to(choose(device).device)


def _like(tensor: Tensor, array: np.ndarray) -> Tensor:
    return torch.as_tensor(array, dtype=torch.float32).to(tensor.device)
