"""Measurements of single slices, and of slices with their neighbours, at several strengths.

An output at strength s is input + s (output − input). The remaining noise is the standard deviation of the difference
between the outputs for two noise realisations, divided by √2. It covers only the added noise, since the scan's own is
the same in both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from bioatt.core.metrics import psnr
from bioatt.core.strength import DEFAULT_STRENGTH
from bioatt.core.volume import Volume
from bioatt_training.studies.benchmark.measures.quality import WINDOW, quality
from bioatt_training.studies.benchmark.measures.safety import soft_patches
from bioatt_training.studies.benchmark.measures.texture import described
from bioatt_training.studies.network import inserts
from bioatt_training.studies.network.examined import Examined
from bioatt_training.studies.network.scans import Scan

STRENGTHS = (0.0, DEFAULT_STRENGTH, 1.0)
DOSES = (0.1, 0.25, 0.5)
AVERAGES_MM = (3.0, 5.0)
_LEAST_PIXELS = 300
_EQUAL = 0.995
Pair = Sequence[NDArray]


def single(model: Examined, scan: Scan) -> dict[str, Any]:
    """{strength: `quality`, "left_hu", "mean_per_mm", "f50", "f50 full dose"}, "doses": {dose: {strength: PSNR}}."""
    truth, realisations = scan.truth, range(len(scan.noise))
    before = [scan.low(r).hu[0] for r in realisations]
    after = [model.alone(scan.low(r)) for r in realisations]
    where = inserts.places(scan)
    signal = inserts.added(scan, where)
    shown = np.mean([model.alone(scan.low(r, added=signal)) for r in realisations], axis=0) - np.mean(after, axis=0)
    at_full = model.alone(scan.low(dose=1, added=signal)) - model.alone(scan.low(dose=1))
    found: dict[str, Any] = {"doses": {}}
    for strength in STRENGTHS:
        outputs = [_at(strength, a, b) for a, b in zip(before, after, strict=True)]
        noise = difference(outputs)
        patches = soft_patches(noise, truth)
        f50, f50_full = (
            inserts.kept(scan, where, signal[0], _at(strength, signal[0], one))[inserts.DISC]
            for one in (shown, at_full)
        )
        found[f"{strength:g}"] = {
            **quality(truth, outputs[0]),
            "left_hu": spread_in(noise, soft_tissue(truth)),
            "mean_per_mm": described(patches, scan.pixel_mm)["mean_per_mm"] if len(patches) else math.nan,
            "f50": f50,
            "f50 full dose": f50_full,
        }
    for dose in DOSES:
        low = scan.low(dose=dose)
        output = model.alone(low)
        found["doses"][f"{dose:g}"] = {f"{s:g}": psnr(truth, _at(s, low.hu[0], output), WINDOW) for s in STRENGTHS}
    return found


def neighbours(model: Examined, scan: Scan) -> dict[str, Any]:
    """{way: {"psnr_db", "noise": {region: HU}, "kept": `inserts.kept`}} of the input, the slice alone, the slice within
    its slab, and means over some mm of the input; noise only for scans with two realisations. "lower": {region: per
    cent by which the noise is lower within the slab than alone, with the more blurred one at the strength that matches
    the other's f50}.
    """
    k = scan.middle
    ways: dict[str, Callable[[Volume], NDArray]] = {
        "input": lambda volume: volume.hu[k],
        "alone": lambda volume: model.alone(volume, k),
        "within": lambda volume: model.within(volume, k),
    }
    for extent in AVERAGES_MM:
        if extent > 1.2 * scan.step_mm:
            ways[f"mean of {extent:g} mm"] = partial(averaged, k=k, extent_mm=extent)
    where = inserts.places(scan)
    signal = inserts.added(scan, where)
    low = [scan.low(r) for r in range(len(scan.noise))]
    shown = [scan.low(r, added=signal) for r in range(len(scan.noise))]
    regions = _regions(model, scan)
    found: dict[str, Any] = {}
    noises, changes = {}, {}
    for way, output_of in ways.items():
        outputs = [output_of(one) for one in low]
        changes[way] = change = np.mean([output_of(one) for one in shown], axis=0) - np.mean(outputs, axis=0)
        found[way] = {
            "psnr_db": psnr(scan.truth, outputs[0], WINDOW),
            "kept": inserts.kept(scan, where, signal[k], change),
        }
        if len(outputs) > 1:
            noises[way] = noise = difference(outputs)
            found[way]["noise"] = {name: spread_in(noise, mask) for name, mask in regions.items()}
    if noises:
        strengths = _of_equal_f50(
            lambda way, s: inserts.kept(scan, where, signal[k], _at(s, signal[k], changes[way]))[inserts.DISC]
        )
        alone, within = (_at(strengths[way], noises["input"], noises[way]) for way in ("alone", "within"))
        found["lower"] = {
            name: 100 * (1 - spread_in(within, mask) / spread_in(alone, mask)) for name, mask in regions.items()
        }
    return found


def _at(strength: float, before: NDArray, after: NDArray) -> NDArray:
    return before + strength * (after - before)


def _of_equal_f50(f50: Callable[[str, float], float]) -> dict[str, float]:
    """Strength of the slice alone and within its slab at which both have the same f50(way, strength); the sharper one
    keeps 1. NaN if there is none.
    """
    whole = {way: f50(way, 1.0) for way in ("alone", "within")}
    blurred = min(whole, key=lambda way: whole[way])
    fitting = (s for s in np.arange(1.0, 0.2, -0.02) if f50(blurred, float(s)) >= _EQUAL * max(whole.values()))
    return {**dict.fromkeys(whole, 1.0), blurred: float(next(fitting, math.nan))}


def difference(outputs: Pair) -> NDArray[np.float32]:
    """Noise (y, x) of one output, from two realisations."""
    return np.asarray((outputs[0] - outputs[1]) / math.sqrt(2), np.float32)


def spread_in(noise: NDArray, mask: NDArray[np.bool_]) -> float:
    """Standard deviation within a mask; NaN if it has too few pixels."""
    return float(noise[mask].std()) if mask.sum() >= _LEAST_PIXELS else math.nan


def soft_tissue(hu: NDArray) -> NDArray[np.bool_]:
    """Pixels with the local mean (9×9) of soft tissue."""
    mean = uniform_filter(np.clip(hu.astype(np.float32), -1100, 3100), 9)
    return (mean > 0) & (mean < 130)


def averaged(volume: Volume, k: int, extent_mm: float) -> NDArray[np.float32]:
    """Mean of a volume over `extent_mm` around slice k, with slices weighted by their overlap with it."""
    step_mm = volume.spacing[2]
    centre = (np.arange(len(volume.hu)) - k) * step_mm
    ends = np.clip(centre + step_mm / 2, None, extent_mm / 2) - np.clip(centre - step_mm / 2, -extent_mm / 2, None)
    weights = np.maximum(ends, 0)
    return np.asarray(np.tensordot(weights / weights.sum(), volume.hu.astype(np.float64), 1), np.float32)


def _regions(model: Examined, scan: Scan) -> dict[str, NDArray[np.bool_]]:
    """Masks by name: soft tissue, and lungs and liver if the scan's organ maps show them."""
    p, _ = model.organs(scan.volume, scan.middle)
    organs = {name: p[model.model.descriptors.index(name)] > 0.5 for name in ("lungs", "liver")}
    return {"soft tissue": soft_tissue(scan.truth), **organs}
