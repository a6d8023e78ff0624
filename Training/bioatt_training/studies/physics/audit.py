"""Hallucination audit in anatomy: agreement with the ground truth by frequency, and detection by the structure
check.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bioatt.core.body import body_mask
from bioatt.core.structure import removed_structure
from bioatt.physics.fourier_ring import lost_from, ring_correlation
from bioatt.physics.nps import patches_inside
from bioatt_training.studies.physics.detection import key
from bioatt_training.studies.physics.phantoms import Phantom, Scans
from bioatt_training.studies.physics.subjects import Subject

SIDE = 48
"""Side in pixels of the patches for measuring agreement with the ground truth."""
AROUND_MM = 2.0


def agreement(scanned: Scans, subjects: Sequence[Subject]) -> dict[str, dict[str, list[float]]]:
    """By subject and slice: {"lost_input", "lost": mean frequency (1/mm) up to which patches agree with the truth,
    "worse", "better": fraction of patches that agree up to a lower or higher frequency than the input's}.
    """
    inside = body_mask(scanned.truth)[None]
    pixel_mm = scanned.absent.pixel_mm

    def lost(image: NDArray, truth: NDArray) -> NDArray[np.float64]:
        pairs = [patches_inside(one[None].astype(np.float64), inside, SIDE) for one in (image, truth)]
        return lost_from(ring_correlation(*pairs), SIDE, pixel_mm)

    truth = scanned.truth + scanned.signal
    own = [lost(plane, truth) for plane in scanned.present.hu]
    found = {}
    for subject in subjects:
        rows = [lost(plane, truth) for plane in subject(scanned.present)]
        found[subject.name] = {
            "lost_input": [float(a.mean()) for a in own],
            "lost": [float(b.mean()) for b in rows],
            "worse": [float((b < a).mean()) for a, b in zip(own, rows, strict=True)],
            "better": [float((b > a).mean()) for a, b in zip(own, rows, strict=True)],
        }
    return found


def noticed(phantom: Phantom, scanned: Scans, subject: Subject) -> dict[str, dict[str, list[float]]]:
    """Scores of the structure check at each insert, by slice: {insert: {"erased", "honest"}}.

    honest: the subject's output for the scan with inserts. erased: its output for the same noise without inserts,
    compared with the scan that has them, as from a denoiser that erases them. Score: the largest significance within
    AROUND_MM of the insert, relative to the check's threshold.
    """
    spacing, before = scanned.present.spacing, scanned.present.hu
    outputs = {"erased": subject(scanned.absent), "honest": subject(scanned.present)}
    found: dict[str, dict[str, list[float]]] = {key(one): {} for one in phantom.inserts}
    rows, columns = np.ogrid[: before.shape[1], : before.shape[2]]
    for name, after in outputs.items():
        result = removed_structure(before, after, spacing)
        for one in phantom.inserts:
            distance = np.hypot(rows - one.centre_yx[0], columns - one.centre_yx[1]) * phantom.pixel_mm
            near = distance <= one.radius_mm + AROUND_MM
            found[key(one)][name] = [float(plane[near].max() / result.threshold) for plane in result.significance]
    return found
