"""Automated measurements on a scan before and after denoising: organs by the built-in organ maps, and threshold
measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion, label

from bioatt.anatomy.descriptors import ANATOMY_SET, load_descriptor_set
from bioatt.anatomy.organs import find_organs
from bioatt.anatomy.overlap import dice_by_organ
from bioatt.core.volume import Volume
from bioatt.priors.anatomy import build_anatomy
from bioatt.simulation.acquisition import Scanner, scan
from bioatt.simulation.phantom import LABELS, torso
from bioatt.simulation.phantom.inserts import disc
from bioatt.simulation.tomography import Geometry
from bioatt_training.studies.physics.subjects import Subject

EMPHYSEMA_HU = -950.0
CALCIUM_HU = 130.0
CALCIFICATION_HU, CALCIFICATIONS = 450.0, 4
BULLA_HU, BULLAE, BULLA_MM = -985.0, 12, (2.0, 6.0)
"""HU, number per slice and radii of the simulated emphysema."""
TRUTH = "noise-free"
THICKNESS_MM = 5.0


def ill_torso(seed: int, slices: int, size: int) -> tuple[Volume, NDArray[np.uint8]]:
    """An unenhanced torso with discs of calcium of 2 to 4 mm in the heart and with emphysema, and its labels."""
    volume, labels = torso(seed, slices, size, z_range=(-110.0, 110.0), phase="unenhanced")
    rng = np.random.default_rng([seed, 5])
    hu = volume.hu.copy()

    def centres(inside: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
        places = np.argwhere(binary_erosion(inside, iterations=3))
        return places[rng.permutation(len(places))[:count]]

    for plane, values in zip(hu, labels, strict=True):
        for place in centres(values == LABELS["heart"], CALCIFICATIONS):
            plane += CALCIFICATION_HU * disc(plane.shape, tuple(place), rng.uniform(1, 2) / volume.pixel_mm)
        for place in centres(values == LABELS["lungs"], BULLAE):
            share = disc(plane.shape, tuple(place), rng.uniform(*BULLA_MM) / volume.pixel_mm)
            plane += share * (BULLA_HU - plane)
    return Volume(hu, spacing=volume.spacing, acquisition=volume.acquisition), labels


def measure(
    seed: int, kernel: str, doses: Sequence[float], subjects: Sequence[Subject], *, slices: int, size: int
) -> dict[str, Any]:
    """{TRUTH, dose, "dose subject": {"dice": {organ}, "volume": {organ: share of the noise-free scan's}, "emphysema":
    per cent of the lung below −950 HU, "liver": HU, "calcium": Agatston score}}.

    Lung, liver and heart are those of the phantom; organs are those found by the built-in maps in each scan, with the
    noise-free scan as reference.
    """
    body, labels = ill_torso(seed, slices, size)
    scanner = Scanner(geometry=Geometry().coarser(views=2), kernel=kernel)
    truth, low = scan(body, doses, scanner=scanner, seed=seed)
    source = build_anatomy("maps")
    reference = find_organs(truth, source).labels
    found = {TRUTH: _readings(truth, labels)}
    for dose, one in zip(doses, low, strict=True):
        outputs = {f"{dose:g}": one.hu}
        outputs |= {f"{dose:g} {subject.name}": subject(one) for subject in subjects}
        for name, hu in outputs.items():
            image = Volume(np.rint(hu).astype(np.int16), spacing=one.spacing, acquisition=one.acquisition)
            found[name] = _readings(image, labels) | _overlap(find_organs(image, source).labels, reference)
    return found


def _overlap(labels: NDArray[np.uint8], reference: NDArray[np.uint8]) -> dict[str, Any]:
    names = load_descriptor_set(ANATOMY_SET).descriptors
    dice = dice_by_organ(reference, labels)
    sizes = {name: [int((one == names.index(name) + 1).sum()) for one in (labels, reference)] for name in dice}
    return {"dice": dice, "volume": {name: here / there for name, (here, there) in sizes.items()}}


def _readings(image: Volume, labels: NDArray[np.uint8]) -> dict[str, Any]:
    lung = np.stack([binary_erosion(plane, iterations=2) for plane in labels == LABELS["lungs"]])
    liver = np.stack([binary_erosion(plane, iterations=4) for plane in labels == LABELS["liver"]])
    heart = np.stack([binary_dilation(plane, iterations=1) for plane in labels == LABELS["heart"]])
    return {
        "emphysema": float(100 * (image.hu[lung] < EMPHYSEMA_HU).mean()) if lung.any() else None,
        "liver": float(image.hu[liver].mean()) if liver.any() else None,
        "calcium": agatston(image.hu, heart, image.pixel_mm, THICKNESS_MM),
    }


def agatston(hu: NDArray, inside: NDArray[np.bool_], pixel_mm: float, thickness_mm: float) -> float:
    """Agatston score (1990, 10.1016/0735-1097(90)90282-T) of calcium within a mask (z, y, x), for slices of any
    thickness: lesions of at least 1 mm² above 130 HU, area times 1 to 4 by their largest value, per 3 mm.
    """
    score = 0.0
    for plane, mask in zip(hu, inside, strict=True):
        parts, count = label((plane >= CALCIUM_HU) & mask)
        for k in range(1, count + 1):
            lesion = parts == k
            area = float(lesion.sum()) * pixel_mm**2
            if area >= 1:
                score += area * min(int(plane[lesion].max() // 100), 4)
    return score * thickness_mm / 3
