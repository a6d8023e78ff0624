"""The compiled loops of `operators`: no checks, no allocation; callers check shapes and borders."""

# mypy: disallow-untyped-defs=False

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

LANES = 16
"""Slices of a stack that the loops process at once: one vector register of float32."""


def compiled(**options: Any) -> Callable[[Callable], Callable]:
    """numba.njit with a cache on disk, or without if the cache cannot be written (a read-only home)."""

    def decorate(function: Callable) -> Callable:
        try:
            return numba.njit(cache=True, fastmath=True, nogil=True, error_model="numpy", **options)(function)
        except RuntimeError:  # no folder to cache in
            return numba.njit(fastmath=True, nogil=True, error_model="numpy", **options)(function)

    return decorate


@compiled()
def _span(start, slope, steps, width):
    """First and last + 1 of the steps at which 0 <= start + slope·step < width."""
    low, high = 0.0, float(steps)
    if slope == 0.0:
        if start < 0.0 or start >= width:
            return 0, 0
        return 0, steps
    first, last = -start / slope, (width - start) / slope
    if first > last:
        first, last = last, first
    low, high = max(low, np.ceil(first)), min(high, np.floor(last) + 1.0)
    i, j = int(low), int(high)
    while i < j and not 0.0 <= start + slope * i < width:
        i += 1
    while j > i and not 0.0 <= start + slope * (j - 1) < width:
        j -= 1
    return i, j


@compiled()
def _march(x0, y0, dx, dy, height, width):
    """Joseph's stepping of the ray (x0, y0) + t (dx, dy), in pixels: along rows if it is steep, else along columns.

    Returns (steep, start, slope, first, last, length of one step in pixels); positions include the one-pixel border.
    """
    if abs(dy) >= abs(dx):
        slope = dx / dy
        start = x0 - y0 * slope + 1.0
        first, last = _span(start, slope, height, width + 1.0)
        return True, start, slope, first, last, np.sqrt(1.0 + slope * slope)
    slope = dy / dx
    start = y0 - x0 * slope + 1.0
    first, last = _span(start, slope, width, height + 1.0)
    return False, start, slope, first, last, np.sqrt(1.0 + slope * slope)


@compiled()
def _sum_along(image, start, slope, first, last):
    total = np.float32(0.0)
    start, slope = np.float32(start), np.float32(slope)
    for step in range(first, last):
        position = start + slope * np.float32(step)
        left = np.uint32(position)
        weight = position - np.float32(left)
        total += image[step, left] + weight * (image[step, left + np.uint32(1)] - image[step, left])
    return total


@compiled(parallel=True)
def project_slice(image, transposed, points, directions, cosines, sines, pixel, x_origin, y_origin, out):
    """image (H, W + 2) and its transpose (W, H + 2), zero border on the second axis; out (views, cells)."""
    height, width = image.shape[0], transposed.shape[0]
    for view in numba.prange(cosines.size):
        c, s = cosines[view], sines[view]
        for cell in range(points.shape[0]):
            px, py = points[cell]
            dx, dy = directions[cell]
            steep, start, slope, first, last, length = _march(
                (px * c - py * s) / pixel - x_origin,
                (px * s + py * c) / pixel - y_origin,
                dx * c - dy * s,
                dx * s + dy * c,
                height,
                width,
            )
            if steep:
                out[view, cell] = _sum_along(image, start, slope, first, last) * length * pixel
            else:
                out[view, cell] = _sum_along(transposed, start, slope, first, last) * length * pixel


@compiled()
def _arctan(t):
    """arctan for |t| <= 1 (a fan is narrower) to 4e-8 rad, in operations that vectorise."""
    t2 = t * t
    p = np.float32(-0.004054545)
    p = p * t2 + np.float32(0.021862877)
    p = p * t2 + np.float32(-0.055912211)
    p = p * t2 + np.float32(0.096421888)
    p = p * t2 + np.float32(-0.139086262)
    p = p * t2 + np.float32(0.199465650)
    p = p * t2 + np.float32(-0.333298607)
    p = p * t2 + np.float32(0.999999336)
    return p * t


@compiled()
def _detector(beam, s, along, source, first, inverse_step):
    """Fractional cell and distance weight of a point at detector coordinate s, `along` from the source (mm)."""
    if beam == 0:
        return (s - first) * inverse_step, np.float32(1.0)
    t = s / along
    if beam == 1:
        scale = source / along
        return (t * source - first) * inverse_step, scale * scale
    squared = along * along + s * s
    return (_arctan(t) - first) * inverse_step, source * source / squared


@compiled()
def _look_up(beam, c, s, source, first, inverse_step, cells, power, xs, y, left, near, far):
    """For a row of pixels: the cell to the left of each pixel's ray, and the weights of that cell and the next."""
    for column in range(xs.size):
        x = xs[column]
        cell, weight = _detector(beam, x * c + y * s, source - x * s + y * c, source, first, inverse_step)
        weight = weight * weight if power == 2 else weight
        inside = (cell >= np.float32(0.0)) & (cell <= cells)
        cell, weight = (cell, weight) if inside else (np.float32(0.0), np.float32(0.0))
        whole = np.int32(cell)
        left[column] = whole
        far[column] = (cell - np.float32(whole)) * weight
        near[column] = weight - far[column]


@compiled(parallel=True)
def backproject_slice(beam, sinogram, cosines, sines, source, first, inverse_step, power, xs, ys, out):
    """sinogram (views, cells + 1), last cell zero; out (H, W) = Σ over views of weight^power · linear interpolation.

    Two passes over a row: the first, vectorised, finds cells and weights; the second looks up the values.
    """
    cells = np.float32(sinogram.shape[1] - 2)
    for row in numba.prange(ys.size):
        left = np.empty(xs.size, np.int32)
        near, far = np.empty(xs.size, np.float32), np.empty(xs.size, np.float32)
        for view in range(cosines.size):
            c, s = cosines[view], sines[view]
            _look_up(beam, c, s, source, first, inverse_step, cells, power, xs, ys[row], left, near, far)
            for column in range(xs.size):
                k = np.uint32(left[column])
                value = near[column] * sinogram[view, k] + far[column] * sinogram[view, k + np.uint32(1)]
                out[row, column] += value


@compiled(parallel=True)
def backproject_stack(beam, sinogram, cosines, sines, source, first, inverse_step, power, xs, ys, out):
    """As `backproject_slice` with LANES slices in the last axis of sinogram and out: four times faster per slice."""
    cells = np.float32(sinogram.shape[1] - 2)
    for row in numba.prange(ys.size):
        left = np.empty(xs.size, np.int32)
        near, far = np.empty(xs.size, np.float32), np.empty(xs.size, np.float32)
        for view in range(cosines.size):
            c, s = cosines[view], sines[view]
            _look_up(beam, c, s, source, first, inverse_step, cells, power, xs, ys[row], left, near, far)
            for column in range(xs.size):
                k = np.uint64(left[column])
                a, b = near[column], far[column]
                target, p, q = out[row, column], sinogram[view, k], sinogram[view, k + np.uint64(1)]
                for lane in range(target.size):
                    target[lane] += a * p[lane] + b * q[lane]
