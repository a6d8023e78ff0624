"""Forward and back projection, compiled with numba: views or rows in parallel, single slices or stacks.

A stack is processed with its slices in the last axis: the geometry of a ray is computed once for all slices, and memory
is read in whole vectors, several times faster per slice than one slice at a time.
"""

from __future__ import annotations

import threading

import numpy as np

from bioatt.core.errors import InputError
from bioatt.simulation.tomography.geometry import Geometry
from bioatt.simulation.tomography.loops import LANES, backproject_slice, backproject_stack, project_slice

_LOCK = threading.Lock()  # numba's portable threading layer must not be entered by two threads at once


def project(
    mu: np.ndarray,
    pixel_mm: float,
    geometry: Geometry,
    *,
    centre_mm: tuple[float, float] = (0.0, 0.0),
    device: str = "cpu",
) -> np.ndarray:
    """Line integrals of `mu`, (y, x) or (z, y, x), by Joseph's method (IEEE Trans Med Imaging 1982; 1:192).

    mu in 1/mm gives dimensionless integrals, (views, cells) or (z, views, cells), float32. centre_mm is the position
    (x, y) of the image's centre relative to the isocentre. device: "cpu" for the compiled loops, else a PyTorch device
    (`bioatt.compute.device.choose`). Raises InputError for other shapes, a pixel size that is not positive, or an
    unavailable device.
    """
    stack, single = as_stack(mu, "an image")
    check_pixel(pixel_mm)
    if device != "cpu":
        from bioatt.simulation.tomography import on_torch  # imported here because only GPUs need torch

        views = on_torch.project(stack, pixel_mm, geometry, centre_mm, device)
        return views[0] if single else views
    count, height, width = stack.shape
    points, directions = geometry.rays()
    cosines, sines = np.cos(geometry.angles), np.sin(geometry.angles)
    pixel = float(pixel_mm)
    x_origin = centre_mm[0] / pixel_mm - (width - 1) / 2
    y_origin = centre_mm[1] / pixel_mm - (height - 1) / 2
    out = np.empty((count, geometry.views, geometry.cells), np.float32)
    border = ((0, 0), (1, 2))
    with _LOCK:
        for plane, views in zip(stack, out, strict=True):
            rows = np.pad(np.asarray(plane, np.float32), border)
            columns = np.pad(np.asarray(plane, np.float32).T, border)
            project_slice(rows, columns, points, directions, cosines, sines, pixel, x_origin, y_origin, views)
    return out[0] if single else out


def backproject(
    sinogram: np.ndarray,
    geometry: Geometry,
    shape: tuple[int, int],
    pixel_mm: float,
    *,
    centre_mm: tuple[float, float] = (0.0, 0.0),
    upsample: int = 1,
    power: int = 1,
) -> np.ndarray:
    """Weighted back projection Σ_views w · sinogram on an image of `shape` (y, x); (z, y, x) for a stack. float32.

    w is the fan's distance weight (source distance ÷ distance of the pixel, squared) and 1 for parallel rays; power=2
    squares it, for the propagation of variances. `upsample` is the factor by which the sinogram's cells are finer than
    the geometry's.
    """
    stack, single = as_stack(sinogram, "a sinogram")
    check_pixel(pixel_mm)
    check_views(stack, geometry, upsample)
    cosines, sines = np.cos(geometry.angles).astype(np.float32), np.sin(geometry.angles).astype(np.float32)
    xs = ((np.arange(shape[1]) - (shape[1] - 1) / 2) * pixel_mm + centre_mm[0]).astype(np.float32)
    ys = ((np.arange(shape[0]) - (shape[0] - 1) / 2) * pixel_mm + centre_mm[1]).astype(np.float32)
    step = geometry.step / upsample
    settings = (np.float32(geometry.source_mm), np.float32(geometry.positions[0]), np.float32(1 / step), power)
    out = np.empty((len(stack), *shape), np.float32)
    with _LOCK:
        for first, last in _chunks(len(stack)):
            lanes = _to_lanes(stack[first:last])
            lanes = np.pad(lanes, ((0, 0), (0, 1)) + ((0, 0),) * (lanes.ndim - 2))
            result = np.zeros((*shape, *lanes.shape[2:]), np.float32)
            kernel = backproject_slice if lanes.ndim == 2 else backproject_stack
            kernel(int(geometry.beam), lanes, cosines, sines, *settings, xs, ys, result)
            _from_lanes(result, out[first:last])
    return out[0] if single else out


def _chunks(count: int) -> list[tuple[int, int]]:
    """Groups of LANES slices; a remainder too small for a vector is processed slice by slice."""
    edges = [(first, min(first + LANES, count)) for first in range(0, count, LANES)]
    first, last = edges[-1]
    if last - first < LANES // 4:
        edges[-1:] = [(index, index + 1) for index in range(first, last)]
    return edges


def _to_lanes(stack: np.ndarray) -> np.ndarray:
    if len(stack) == 1:
        return np.ascontiguousarray(stack[0], np.float32)
    lanes = np.zeros((*stack.shape[1:], LANES), np.float32)
    lanes[..., : len(stack)] = np.moveaxis(stack, 0, -1)
    return lanes


def _from_lanes(lanes: np.ndarray, out: np.ndarray) -> None:
    if lanes.ndim == 2:
        out[0] = lanes
    else:
        out[:] = np.moveaxis(lanes[..., : len(out)], -1, 0)


def as_stack(array: np.ndarray, what: str) -> tuple[np.ndarray, bool]:
    """The array as a stack with three axes, and whether it was a single slice. Raises InputError for other shapes."""
    array = np.asarray(array)
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise InputError(f"{what} must have 2 axes, or 3 for a stack, not shape {array.shape}")
    return (array[None], True) if array.ndim == 2 else (array, False)


def check_pixel(pixel_mm: float) -> None:
    """Raise InputError unless the pixel size is a positive number."""
    if not (np.isfinite(pixel_mm) and pixel_mm > 0):
        raise InputError(f"the pixel size must be a positive number of mm, not {pixel_mm}")


def check_views(stack: np.ndarray, geometry: Geometry, upsample: int = 1) -> None:
    """Raise InputError if sinograms (z, views, cells) do not match the geometry."""
    expected = (geometry.views, geometry.cells * upsample)
    if stack.shape[1:] != expected:
        raise InputError(f"the sinogram has shape {stack.shape[1:]} but the geometry needs {expected}")
