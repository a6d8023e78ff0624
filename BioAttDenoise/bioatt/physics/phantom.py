"""Measurements on round phantoms (water, ACR, Catphan, simulated): noise, NPS, TTF, HU and uniformity.

Inserts are found by their contrast; the measures follow AAPM TG-233 (Samei 2019, 10.1002/mp.13763).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import (
    binary_fill_holes,
    distance_transform_edt,
    gaussian_filter,
    gaussian_gradient_magnitude,
    label,
    median_filter,
)

from bioatt.core.errors import InputError
from bioatt.physics.detectability import disc_task, npwe
from bioatt.physics.nps import Spectrum, nps, nps_2d, patches_inside
from bioatt.physics.ttf import ttf

LEAST_CONTRAST_HU = 25.0
INSERT_MM = (2.0, 20.0)
"""Range of insert radii."""
ROUND = 0.85
"""Smallest ratio of the shorter to the longer side, and of the area to that of the circle, for a round object."""
_EVEN = 0.25
"""Largest SD within an insert beyond the noise, as a fraction of its contrast."""
_EDGE_PX = 2.5
"""σ of the gradient that finds edges."""
_CLEAR_MM = 4.0
"""Distance to keep from edges when measuring noise and uniformity."""
PATCHES_PX = (64, 48, 32, 24, 16)
"""Sides of noise patches; the first of which MIN_PATCHES fit is used."""
MIN_PATCHES = 4
TASKS = ((14.0, 3.0), (7.0, 5.0), (5.0, 7.0), (3.0, 10.0))
"""Contrast (HU) and diameter (mm) of the inserts in the CCT189 phantom."""
NOMINAL: Mapping[str, Mapping[str, float]] = {
    "acr": {"air": -1000, "polyethylene": -95, "acrylic": 120, "bone": 955},
    "catphan": {
        "air": -1000,
        "PMP": -196,
        "LDPE": -104,
        "polystyrene": -47,
        "acrylic": 115,
        "Delrin": 365,
        "Teflon": 1000,
    },
}
"""Nominal HU of inserts by phantom at 120 kV: the middle of the ranges given by the manufacturers and the ACR."""


@dataclass(frozen=True)
class Insert:
    """A round insert: centre in pixels, radius in mm, HU."""

    centre_yx: tuple[float, float]
    radius_mm: float
    hu: float


@dataclass(frozen=True)
class Layout:
    """A round phantom: centre in pixels, radius in mm, HU of its body, inserts by HU.

    even: (y, x) bool, the body without its rim and anything that stands out, round or not.
    """

    centre_yx: tuple[float, float]
    radius_mm: float
    background_hu: float
    inserts: tuple[Insert, ...]
    even: NDArray[np.bool_]


def find_layout(hu: NDArray, pixel_mm: float) -> Layout:
    """Find the phantom in a scan (z, y, x) with identical slices. Raises InputError if it contains nothing round."""
    mean = hu.mean(0, dtype=np.float64)
    body = _largest(binary_fill_holes(gaussian_filter(mean, 1.5) > -500))
    if body is None or not _round(body):
        raise InputError("no round phantom found in this scan: give axial slices of one, or use `patient` for patients")
    centre, radius = _circle(body, pixel_mm)
    distance = _distance(hu.shape[1:], centre) * pixel_mm
    inner = distance < 0.9 * radius
    background = float(np.median(mean[inner]))
    noise = 1.4826 * float(np.median(np.abs(mean - median_filter(mean, 5))[inner]))
    smooth = gaussian_filter(mean, 1.5)
    least = max(LEAST_CONTRAST_HU, 3 * noise)
    parts, count = label((np.abs(smooth - background) > least) & inner)
    inserts = (_insert(mean, smooth, parts == k, background, noise, pixel_mm) for k in range(1, count + 1))
    found = sorted((one for one in inserts if one is not None), key=lambda one: one.hu)
    return Layout(centre, radius, background, tuple(found), _even(mean, inner, pixel_mm))


def measure(hu: NDArray, pixel_mm: float, layout: Layout) -> dict[str, Any]:
    """{"noise_hu", "nps": {"frequency", "value", "peak", "mean"}, "nps_2d", "inserts": [{"hu", "contrast", "f50",
    "f10", "ttf"}], "uniformity": {"centre", "edges", "largest"}, "d": {task: d′}} of a scan (z, y, x) of a phantom.

    Frequencies in 1/mm; nps_2d (y, x) with zero in the middle. Values that cannot be measured are None. d: with the eye
    filter and the TTF of the insert with the lowest contrast.
    """
    values = hu.astype(np.float64)
    spectrum, plane, noise = _noise(values, pixel_mm, layout)
    inserts = [_measured(values, pixel_mm, one, layout, noise) for one in layout.inserts]
    seen = [(abs(row["contrast"]), row["ttf"]) for row in inserts if row["ttf"] is not None]
    transfer = min(seen, key=lambda pair: pair[0])[1] if seen else None
    return {
        "noise_hu": noise,
        "nps": spectrum and {**_curve(spectrum), "peak": spectrum.peak, "mean": spectrum.mean},
        "nps_2d": None if plane is None else np.fft.fftshift(plane),
        "inserts": [{**row, "ttf": row["ttf"] and _curve(row["ttf"])} for row in inserts],
        "uniformity": _uniformity(values, pixel_mm, layout),
        "d": {
            f"{contrast:g} HU {diameter:g} mm": npwe(disc_task(contrast, diameter), transfer, spectrum)
            for contrast, diameter in TASKS
            if transfer is not None and spectrum is not None
        },
    }


def linearity(measured: NDArray, nominal: NDArray) -> dict[str, float]:
    """{"slope", "intercept", "largest": largest deviation from nominal HU} of the line through inserts' HU."""
    slope, intercept = np.polyfit(nominal, measured, 1)
    return {
        "slope": float(slope),
        "intercept": float(intercept),
        "largest": float(np.abs(np.asarray(measured) - nominal).max()),
    }


def materials(layout: Layout, kind: str) -> list[tuple[str, float]]:
    """(name, nominal HU) of each insert by the nearest nominal value. Raises InputError for an unknown phantom."""
    if kind not in NOMINAL:
        raise InputError(f"unknown phantom {kind!r}: choose one of {', '.join(NOMINAL)}")
    return [min(NOMINAL[kind].items(), key=lambda pair: abs(pair[1] - one.hu)) for one in layout.inserts]


def _measured(
    values: NDArray[np.float64], pixel_mm: float, one: Insert, layout: Layout, noise: float | None
) -> dict[str, Any]:
    inside = _distance(values.shape[1:], one.centre_yx) * pixel_mm < 0.6 * one.radius_mm
    own = float(values[:, inside].mean())
    transfer = None
    # the edge is averaged over slices and angles; fainter edges are lost in noise
    if noise is None or abs(own - layout.background_hu) > 5 * noise / math.sqrt(len(values)):
        try:
            transfer = ttf(values, one.centre_yx, one.radius_mm, pixel_mm)
        except InputError:  # its surroundings extend beyond the image
            transfer = None
    f50, f10 = (None if transfer is None else _finite(transfer.falls_to(level)) for level in (0.5, 0.1))
    return {
        "hu": own,
        "contrast": own - layout.background_hu,
        "radius_mm": one.radius_mm,
        "f50": f50,
        "f10": f10,
        "ttf": transfer,
    }


def _noise(
    values: NDArray[np.float64], pixel_mm: float, layout: Layout
) -> tuple[Spectrum | None, NDArray[np.float64] | None, float | None]:
    """Radial and 2D spectrum and SD in the phantom's body away from its rim and inserts."""
    away = _distance(values.shape[1:], layout.centre_yx) * pixel_mm < 0.85 * layout.radius_mm
    mask = np.broadcast_to(layout.even & away, values.shape)
    for side in PATCHES_PX:
        patches = patches_inside(values, mask, side)
        if len(patches) >= MIN_PATCHES:
            plane = nps_2d(patches, pixel_mm)
            return nps(patches, pixel_mm), plane, float(np.sqrt(plane.sum())) / (side * pixel_mm)
    return None, None, None


def _uniformity(values: NDArray[np.float64], pixel_mm: float, layout: Layout) -> dict[str, Any]:
    """Means in discs of a tenth of the radius at the centre and at four positions near the rim (IEC 61223-3-5)."""
    reach, mean = 0.75 * layout.radius_mm / pixel_mm, values.mean(0)
    y, x = layout.centre_yx
    places = [(y, x), (y - reach, x), (y, x + reach), (y + reach, x), (y, x - reach)]
    size = 0.1 * layout.radius_mm
    means = []
    for place in places:
        disc = _distance(mean.shape, place) * pixel_mm < size
        means.append(float(mean[disc].mean()) if layout.even[disc].all() else None)
    centre, edges = means[0], [one for one in means[1:] if one is not None]
    off = None if centre is None or not edges else max(abs(one - centre) for one in edges)
    return {"centre": centre, "edges": edges, "largest": off}


def _insert(
    mean: NDArray, smooth: NDArray, part: NDArray[np.bool_], background: float, noise: float, pixel_mm: float
) -> Insert | None:
    """The insert in a component that stands out; None if it is not round, of the wrong size, or a bar pattern."""
    if part.sum() < 4 or not _round(part):
        return None
    centre, radius = _circle(part, pixel_mm)
    inside = _distance(mean.shape, centre) * pixel_mm < 0.5 * radius
    if not inside.any():
        return None
    hu = float(mean[inside].mean())
    if mean[inside].std() > _EVEN * abs(hu - background) + 3 * noise:
        return None
    near = _distance(mean.shape, centre) * pixel_mm < 1.6 * radius + 2
    half = _largest(near & (np.abs(smooth - background) > abs(hu - background) / 2))
    if half is None:
        return None
    centre, radius = _circle(half, pixel_mm)
    return Insert(centre, radius, hu) if INSERT_MM[0] <= radius <= INSERT_MM[1] else None


def _even(mean: NDArray, inner: NDArray[np.bool_], pixel_mm: float) -> NDArray[np.bool_]:
    """The largest part of the phantom without edges; HU would not do, since a phantom may be non-uniform."""
    slope = gaussian_gradient_magnitude(mean, _EDGE_PX)
    least = max(LEAST_CONTRAST_HU / 2 / (math.sqrt(2 * math.pi) * _EDGE_PX), 5 * float(np.median(slope[inner])))
    away = distance_transform_edt((slope < least) | ~inner, sampling=pixel_mm) > _CLEAR_MM
    largest = _largest(inner & away)
    return np.zeros_like(inner) if largest is None else largest


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    parts, count = label(mask)
    return parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:])) if count else None


def _round(mask: NDArray[np.bool_]) -> bool:
    """Whether the sides are about equal and the area is about that of the inscribed circle."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    sides = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    area = mask.sum() / (np.pi * sides[0] * sides[1] / 4)
    # a square has 1.27 times the circle's area; for a few pixels the area is no more precise than that
    return bool(min(sides) >= ROUND * max(sides) and ROUND <= area <= (1.1 if max(sides) > 8 else 1.3))


def _circle(mask: NDArray[np.bool_], pixel_mm: float) -> tuple[tuple[float, float], float]:
    y, x = np.nonzero(mask)
    return (float(y.mean()), float(x.mean())), float(np.sqrt(len(y) / np.pi)) * pixel_mm


def _distance(shape: tuple[int, ...], centre: tuple[float, float]) -> NDArray[np.float64]:
    rows, columns = np.ogrid[: shape[-2], : shape[-1]]
    return np.hypot(rows - centre[0], columns - centre[1])


def _curve(spectrum: Spectrum) -> dict[str, list[float]]:
    return {"frequency": spectrum.frequency.tolist(), "value": spectrum.value.tolist()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
