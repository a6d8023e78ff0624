"""Phantoms of the study: a noise-free slice with positions for inserts, and repeated scans of it.

A low-contrast insert hardly changes the counts (14 HU over 10 mm: by 0.3 %, 300 HU over 5 mm: by 3 %), and filtered
back projection is linear, so the scan with inserts is the scan without them plus their noise-free image. Both have the
same noise, so few scans suffice to estimate d′ (`physics.hotelling.paired`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from bioatt.core.errors import InputError
from bioatt.core.volume import Acquisition, Volume
from bioatt.simulation.acquisition import Scanner, repeated
from bioatt.simulation.phantom import LABELS, TRAINING_SEEDS_FROM, torso
from bioatt.simulation.phantom.inserts import Insert, cylinder_with_inserts, disc
from bioatt.simulation.tomography import Geometry

LOW = ((3.0, 10.0), (5.0, 7.0), (7.0, 5.0), (14.0, 3.0), (5.0, 10.0), (10.0, 5.0), (10.0, 10.0), (14.0, 5.0))
"""Contrast in HU and diameter in mm; the first four are those of the phantom CCT189 (MITA)."""
HIGH = ((30.0, 5.0), (60.0, 5.0), (100.0, 5.0), (160.0, 5.0), (300.0, 3.0), (300.0, 5.0), (-60.0, 5.0), (-100.0, 5.0))
THICKNESS_MM = 5.0
SIZES_MM = {"newborn": 112.0, "1 year": 131.0, "5 years": 151.0, "10 years": 185.0, "adult": 292.0, "large": 380.0}
"""Diameters of water cylinders; children as in DIDSR/pediatricIQphantoms, large: an obese adult."""
TORSO_SEED = 41


@dataclass(frozen=True)
class Phantom:
    """name; body: a noise-free slice; inserts: the possible inserts, one per position; pixels of `places` have no
    insert but are otherwise equivalent to the insert positions.
    """

    name: str
    body: Volume
    inserts: tuple[Insert, ...]
    places: tuple[tuple[int, int], ...]

    @property
    def pixel_mm(self) -> float:
        """Pixel size in mm."""
        return self.body.pixel_mm


@dataclass(frozen=True)
class Scans:
    """Volumes of repeated scans (z, y, x), identical except for the inserts; truth, signal: without noise, (y, x) HU.

    truth: a noise-free scan with the same kernel, without the inserts; signal: the contribution of the inserts.
    """

    absent: Volume
    present: Volume
    truth: NDArray[np.float32]
    signal: NDArray[np.float32]


def cylinder(
    contrasts: tuple[tuple[float, float], ...], *, diameter_mm: float = 200.0, size: int = 256, name: str = "water"
) -> Phantom:
    """A cylinder of 40 HU that fills the grid, with inserts of (contrast, diameter) on a ring halfway to the rim."""
    pixel_mm = round(diameter_mm * 1.06 / size, 4)
    body, _ = cylinder_with_inserts((), slices=1, size=size, pixel_mm=pixel_mm, diameter_mm=diameter_mm)
    ring = 0.3 * diameter_mm / pixel_mm
    count = 3 * len(contrasts)
    places = [
        (round(size / 2 + ring * math.sin(angle)), round(size / 2 + ring * math.cos(angle)))
        for angle in 2 * np.pi * np.arange(count) / count
    ]
    return Phantom(name, body, _inserts(contrasts, places[::3]), tuple(p for k, p in enumerate(places) if k % 3))


@lru_cache(maxsize=1)  # shared by two parts of the study, at several doses
def liver(contrasts: tuple[tuple[float, float], ...], *, size: int = 384, seed: int = TORSO_SEED) -> Phantom:
    """A slice through the liver of a torso, with inserts as far from each other and from its border as possible.

    Raises InputError if the liver has no room.
    """
    if seed >= TRAINING_SEEDS_FROM:
        raise InputError(f"evaluation phantoms need seeds below {TRAINING_SEEDS_FROM}: training uses the others")
    body, labels = torso(seed, 1, size, z_range=(-45.0, -40.0), phase="portal")
    free = np.isin(labels[0], [LABELS[name] for name in ("liver", "liver vessels")])
    centres: list[tuple[int, int]] = []
    for _ in contrasts:
        room = np.where(free, distance_transform_edt(free), 0)
        y, x = np.unravel_index(int(np.argmax(room)), room.shape)
        if room[y, x] * body.pixel_mm < 8:
            raise InputError("the torso's liver has no room for this many inserts: use fewer")
        centres.append((int(y), int(x)))
        rows, columns = np.ogrid[:size, :size]
        free &= np.hypot(rows - y, columns - x) * body.pixel_mm > 9
    return Phantom("liver", body, _inserts(contrasts, centres), ())


def scans(phantom: Phantom, kernel: str, dose: float, count: int, *, seed: int = 0) -> Scans:
    """`count` scans at a fraction of full dose, as volumes of 5 mm slices in integer HU."""
    geometry = Geometry() if phantom.body.shape[1] > 400 else Geometry().coarser(views=2)
    scanner = Scanner(geometry=geometry, kernel=kernel)
    truth, noisy = repeated(phantom.body, dose, count, scanner=scanner, seed=seed)
    filled = phantom.body.hu + sum(
        one.contrast_hu * disc(phantom.body.shape[1:], one.centre_yx, one.radius_mm / phantom.pixel_mm)
        for one in phantom.inserts
    )
    with_inserts, _ = repeated(
        replace(phantom.body, hu=filled.astype(np.float32), slice_ids=()), dose, 0, scanner=scanner
    )
    signal = with_inserts - truth
    acquisition = Acquisition(kernel=kernel, slice_thickness_mm=THICKNESS_MM, modality="CT")

    def volume(hu: NDArray[np.float32]) -> Volume:
        stored = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
        return Volume(stored, spacing=(phantom.pixel_mm, phantom.pixel_mm, THICKNESS_MM), acquisition=acquisition)

    return Scans(volume(noisy), volume(noisy + signal), truth, signal)


def _inserts(contrasts: tuple[tuple[float, float], ...], centres: list[tuple[int, int]]) -> tuple[Insert, ...]:
    return tuple(
        Insert(contrast, (float(y), float(x)), diameter / 2)
        for (contrast, diameter), (y, x) in zip(contrasts, centres, strict=True)
    )
