"""Objects of known contrast added to a scan: how much of them an output keeps, measured without noise.

The same noise is denoised with and without objects; the difference of the outputs is compared with that of the inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from bioatt.simulation.phantom.inserts import Insert
from bioatt_training.slabs.pack import LARGEST_RESPONSE
from bioatt_training.studies.benchmark.measures.safety import disc_centres, edges
from bioatt_training.studies.network.scans import Scan

DISC, SPHERE, VESSEL = "disc 50 HU", "sphere 3 mm", "vessel 1 mm"
CONTRAST_HU = {DISC: 50.0, SPHERE: 100.0, VESSEL: 100.0}
DISC_MM = 8.0
"""Radius of the disc, a cylinder along z."""
MOST = 6
"""Number of spheres and vessels together."""
_FINE = 5
_WINDOW_MM = {DISC: 9.0, SPHERE: 4.0, VESSEL: 6.0}
_APART_MM = {DISC: 26.0, SPHERE: 16.0, VESSEL: 16.0}
_INSIDE: Mapping[str, Callable[[NDArray, NDArray, float], NDArray]] = {
    DISC: lambda y, x, z: np.hypot(y, x) <= DISC_MM,
    SPHERE: lambda y, x, z: y**2 + x**2 + z**2 <= 1.5**2,
    VESSEL: lambda y, x, z: y**2 + (x - z) ** 2 / 2 <= 0.5**2,  # runs at 45° to the slices
}
Places = dict[str, list[tuple[int, int]]]


def places(scan: Scan) -> Places:
    """Centres (row, column) by object in soft tissue of the examined slice: one disc, then spheres and vessels
    alternately.
    """
    found: Places = {name: [] for name in CONTRAST_HU}
    height, width = scan.truth.shape
    for y, x in disc_centres(scan.truth, scan.pixel_mm, most=60)["soft tissue"]:
        name = DISC if not found[DISC] else min((SPHERE, VESSEL), key=lambda one: len(found[one]))
        if sum(map(len, found.values())) > MOST:
            break
        room = min(y, x, height - 1 - y, width - 1 - x) * scan.pixel_mm
        near = any(
            math.hypot(y - a, x - b) * scan.pixel_mm < max(_APART_MM[name], _APART_MM[other])
            for other, centres in found.items()
            for a, b in centres
        )
        if room > 2 * DISC_MM + 1 and not near:
            found[name].append((y, x))
    return found


def added(scan: Scan, where: Places) -> NDArray[np.float32]:
    """HU (n, y, x) of the objects, blurred by the scan's kernel."""
    z_mm = (np.arange(len(scan.hu)) - scan.middle) * scan.step_mm
    body = np.zeros(scan.hu.shape, np.float32)
    for name, centres in where.items():
        share = _share(name, scan.pixel_mm, z_mm, scan.thickness_mm)
        reach = share.shape[1] // 2
        for y, x in centres:
            body[:, y - reach : y + reach + 1, x - reach : x + reach + 1] += CONTRAST_HU[name] * share
    height, width = scan.truth.shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    transfer = np.interp(frequency, np.linspace(0, LARGEST_RESPONSE, len(scan.response)), scan.response)
    return np.fft.irfft2(np.fft.rfft2(body) * transfer, s=(height, width)).astype(np.float32)


def kept(scan: Scan, where: Places, before: NDArray, after: NDArray) -> dict[str, float]:
    """Fraction kept of each kind of object, 1 = all; for the disc, the ratio of f50. NaN if the slice has no room.

    before, after: differences (y, x) of the inputs and of the outputs. Contrast: least-squares factor from `before` to
    `after`, over the surroundings of all objects of a kind.
    """
    found = {}
    for name, centres in where.items():
        if not centres:
            found[name] = math.nan
        elif name == DISC:
            disc = [Insert(CONTRAST_HU[DISC], (float(y), float(x)), DISC_MM) for y, x in centres]
            f50 = [next(iter(edges(one[None], disc, scan.pixel_mm).values())) for one in (after, before)]
            found[name] = f50[0] / f50[1]
        else:
            reach = round(_WINDOW_MM[name] / scan.pixel_mm)
            a, b = (
                np.concatenate(
                    [one[y - reach : y + reach + 1, x - reach : x + reach + 1].ravel() for y, x in centres]
                ).astype(np.float64)
                for one in (before, after)
            )
            found[name] = float(a @ b / (a @ a))
    return found


def _share(name: str, pixel_mm: float, z_mm: NDArray, thickness_mm: float) -> NDArray[np.float32]:
    """Fraction (n, h, w) of each voxel around the centre that lies in the object."""
    side = 2 * math.ceil(_WINDOW_MM[name] / pixel_mm) + 1
    axis = ((np.arange(side * _FINE) + 0.5) / _FINE - side / 2) * pixel_mm
    depth = (np.arange(planes := max(round(thickness_mm / 0.25), 1)) + 0.5) / planes - 0.5
    fine = [
        np.mean([_INSIDE[name](axis[:, None], axis[None, :], z + part) for part in depth * thickness_mm], axis=0)
        for z in z_mm
    ]
    return np.stack(fine).reshape(len(z_mm), side, _FINE, side, _FINE).mean(axis=(2, 4)).astype(np.float32)
