"""Detectability, erased and invented inserts of one phantom, kernel and dose, for the input and each output.

Every value is accompanied by its values without each of `GROUPS` groups of slices, for jackknife intervals. These also
apply to ratios and doses of equal detectability, which combine several values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bioatt.physics.channels import differences_of_gaussians, gabor, laguerre_gauss, responses
from bioatt.physics.hotelling import paired
from bioatt.simulation.phantom.inserts import Insert
from bioatt_training.studies.physics.phantoms import Phantom, Scans
from bioatt_training.studies.physics.subjects import Subject

GROUPS = 16
SIDE = 41
"""Side of the patches in pixels."""
OBSERVERS = ("Laguerre-Gauss", "DoG", "Gabor")
INPUT = "input"
Patches = NDArray[np.float64]


def key(insert: Insert) -> str:
    """Name of an insert in results: contrast and diameter."""
    return f"{insert.contrast_hu:g} HU {2 * insert.radius_mm:g} mm"


def measure(
    phantom: Phantom, scanned: Scans, subjects: Sequence[Subject], observers: Sequence[str] = OBSERVERS
) -> dict[str, Any]:
    """{subject: {"noise": SD at the places in HU, "inserts": {insert: {"d": {observer: …}, "fabricated": …, "erased":
    [count, of], "invented": [count, of]}}}}, each … is a list: for all slices, then without each group.

    fabricated: mean shift of the input observer's decision variable on images without the insert, in its standard
    deviations. erased: outputs in which the insert has less than half of its contrast. invented: places without an
    insert that show at least half of its contrast.
    """
    found: dict[str, Any] = {}
    before = scanned.absent.hu, scanned.present.hu
    for subject in (None, *subjects):
        after = before if subject is None else (subject(scanned.absent), subject(scanned.present))
        reach = 0 if subject is None else subject.reach
        chosen = slice(reach, len(before[0]) - reach, 2 * reach + 1)
        found[INPUT if subject is None else subject.name] = {
            "noise": _noise(after[0][chosen], phantom),
            "inserts": {
                key(one): _insert(one, phantom, scanned, [stack[chosen] for stack in (*before, *after)], observers)
                for one in phantom.inserts
            },
        }
    return found


def _insert(
    insert: Insert, phantom: Phantom, scanned: Scans, stacks: Sequence[NDArray], observers: Sequence[str]
) -> dict[str, Any]:
    place = int(insert.centre_yx[0]), int(insert.centre_yx[1])
    diameter_px = 2 * insert.radius_mm / phantom.pixel_mm
    input_absent, input_present, absent, present = (patches(stack, place) for stack in stacks)
    channels = {
        "Laguerre-Gauss": lambda: laguerre_gauss(SIDE, max(1.5 * diameter_px, 6.0)),
        "DoG": lambda: differences_of_gaussians(SIDE),
        "Gabor": lambda: gabor(SIDE),
    }
    d, seen = {}, {}
    for name in observers:
        u = channels[name]()
        seen[name] = [responses(one, u) for one in (input_absent, input_present, absent, present)]
        d[name] = jackknife(paired, *seen[name][2:])
    kernel = _contrast_kernel(diameter_px)
    half = float((patches(scanned.signal[None], place)[0] * kernel).sum()) / 2
    base = float((patches(scanned.truth[None], place)[0] * kernel).sum())
    sign = 1 if half > 0 else -1
    shown = (responses(present, kernel[None])[:, 0] - base) * sign
    elsewhere = [place, *phantom.places]
    empty = np.concatenate(
        [
            (responses(patches(stacks[2], p), kernel[None])[:, 0] - (patches(scanned.truth[None], p)[0] * kernel).sum())
            * sign
            for p in elsewhere
        ]
    )
    return {
        "d": d,
        "fabricated": jackknife(_fabricated, *seen[observers[0]][:3]),
        "contrast": float(shown.mean() / (2 * abs(half))),
        "erased": [int((shown < abs(half)).sum()), len(shown)],
        "invented": [int((empty > abs(half)).sum()), len(empty)],
    }


def jackknife(statistic: Callable[..., float], *samples: NDArray) -> list[float]:
    """[all, without group 1, …]: contiguous groups, since adjacent slices may share noise."""
    parts = np.array_split(np.arange(len(samples[0])), GROUPS)
    return [
        statistic(*samples),
        *(statistic(*(np.delete(one, part, axis=0) for one in samples)) for part in parts),
    ]


def _fabricated(input_absent: Patches, input_present: Patches, absent: Patches) -> float:
    covariance = np.cov(input_absent.T)
    template = np.linalg.solve(covariance, (input_present - input_absent).mean(0))
    decision = absent @ template
    return float((decision - input_absent @ template).mean() / decision.std(ddof=1))


def patches(stack: NDArray, place: tuple[int, int]) -> Patches:
    """(n, SIDE, SIDE) around a pixel of a stack (n, y, x); the image's border is replicated."""
    reach = SIDE // 2
    rows, columns = (
        np.clip(np.arange(c - reach, c + reach + 1), 0, n - 1) for c, n in zip(place, stack.shape[1:], strict=True)
    )
    return stack[:, rows[:, None], columns[None, :]].astype(np.float64)


def _contrast_kernel(diameter_px: float) -> Patches:
    """Mean over a disc minus the mean over a ring of 1 to 2 disc diameters."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    radius = np.hypot(y, x)
    inside = radius <= max(diameter_px / 2, 1.0)
    around = (radius > diameter_px / 2 + 2) & (radius <= max(diameter_px, diameter_px / 2 + 5))
    return inside / inside.sum() - around / around.sum()


def _noise(stack: NDArray, phantom: Phantom) -> float:
    """Standard deviation over slices at the inserts' places, averaged."""
    places = [(int(one.centre_yx[0]), int(one.centre_yx[1])) for one in phantom.inserts]
    inner = slice(SIDE // 2 - 6, SIDE // 2 + 7)
    return float(np.sqrt(np.mean([patches(stack, p)[:, inner, inner].var(0, ddof=1).mean() for p in places])))
