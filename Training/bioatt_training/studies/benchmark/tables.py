"""Convert rows by slice to values with intervals: mean by patient first, then over patients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bioatt_training.evaluation.statistics import interval
from bioatt_training.studies.benchmark.measures.safety import TISSUES
from bioatt_training.studies.benchmark.measures.texture import STRENGTHS, default_strength, shift

PSNR, SSIM, BIAS, NOISE = "psnr_db", "ssim", "bias_hu soft tissue", "noise_hu"
"""Measurements of `quality.quality` that tables show."""
Row = Mapping[str, Any]
Interval = dict[str, Any]
"""{"mean", "low", "high", "patients"}; low and high are None for a single patient."""


def by_patient(rows: Iterable[Row], name: str) -> dict[str, float]:
    """Mean of a measurement over the slices of each patient that have one."""
    values: dict[str, list[float]] = {}
    for row in rows:
        value = row.get(name)
        if value is not None and math.isfinite(value):
            values.setdefault(row["patient"], []).append(value)
    return {patient: float(np.mean(found)) for patient, found in values.items()}


def over_patients(values: Mapping[str, float]) -> Interval:
    """Mean over patients and its bootstrap 95 % interval."""
    mean, low, high = interval(list(values.values()))
    single = len(values) < 2
    return {"mean": mean, "low": None if single else low, "high": None if single else high, "patients": len(values)}


def summary(rows: Sequence[Row], name: str) -> Interval:
    """`over_patients` of `by_patient`."""
    return over_patients(by_patient(rows, name))


def difference(rows: Sequence[Row], others: Sequence[Row], name: str, of: Callable[[float], float] = float) -> Interval:
    """rows − others on their common slices; `of` is applied to each value first (`abs` for a bias)."""
    known = {other["case"]: other[name] for other in others}
    pairs = [
        {"patient": row["patient"], name: of(row[name]) - of(known[row["case"]])}
        for row in rows
        if row["case"] in known
    ]
    return summary(pairs, name)


def where(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """Rows with these values."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def discs(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Over all discs of `safety.full_dose` rows, by tissue, in HU.

    {"count", "mean", "sd", "largest" (size), "noise_sd", "patients mean", "patients sd", "predicted"}. noise_sd: of the
    means of noise like the scan's own over the same discs. patients …: an interval over patients, of the mean and of
    the standard deviation. predicted: `predicted_spread`, None except in soft tissue.
    """
    found = {}
    for tissue in TISSUES:
        by_patient = {row["patient"]: list[float]() for row in rows}
        for row in rows:
            by_patient[row["patient"]] += row["discs"][tissue]["shift"]
        shifts = np.concatenate([[], *by_patient.values()])
        noise = np.concatenate([[], *(row["discs"][tissue]["noise"] for row in rows)])
        if len(shifts) < 2:
            continue
        known = {who: np.asarray(each) for who, each in by_patient.items() if each}
        scale = len(shifts) / len(known)
        squares = {who: float(((each - shifts.mean()) ** 2).sum()) / scale for who, each in known.items()}
        found[tissue] = {
            "count": len(shifts),
            "mean": float(shifts.mean()),
            "sd": float(shifts.std(ddof=1)),
            "largest": float(np.abs(shifts).max()),
            "noise_sd": float(noise.std(ddof=1)),
            "patients mean": over_patients({who: float(each.sum()) / scale for who, each in known.items()}),
            "patients sd": _rooted(over_patients(squares)),
            "predicted": predicted_spread(rows) if tissue == "soft tissue" else None,
        }
    return found


def predicted_spread(rows: Sequence[Row]) -> dict[str, Any] | None:
    """The discs' spread in soft tissue and its prediction from the removed noise's spectrum, on slices with a spectrum.

    {"count", "sd", "predicted_sd", "ratio": an interval over patients}. Slices are weighted by their number of discs in
    both, and whole patients are resampled, since a noisy patient has most of the variance. None without such a slice,
    or if no noise was removed.
    """
    known = [row for row in rows if row.get("predicted", 0.0) > 0 and row["discs"]["soft tissue"]["shift"]]
    if not known:
        return None
    shifts = [np.asarray(row["discs"]["soft tissue"]["shift"]) for row in known]
    count, mean = sum(map(len, shifts)), float(np.concatenate(shifts).mean())
    found, expected = dict[str, float](), dict[str, float]()
    for row, each in zip(known, shifts, strict=True):
        who = row["patient"]
        found[who] = found.get(who, 0.0) + float(((each - mean) ** 2).sum())
        expected[who] = expected.get(who, 0.0) + len(each) * row["predicted"]
    scale = sum(expected.values()) / len(expected)
    ratio = over_patients({who: 1 + (found[who] - expected[who]) / scale for who in found})
    return {
        "count": count,
        "sd": math.sqrt(sum(found.values()) / count),
        "predicted_sd": math.sqrt(sum(expected.values()) / count),
        "ratio": _rooted(ratio),
    }


def _rooted(found: Interval) -> Interval:
    """The interval of the root."""
    ends = {end: None if found[end] is None else math.sqrt(max(found[end], 0.0)) for end in ("mean", "low", "high")}
    return {**found, **ends}


def truth_discs(by_kind: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """`safety.against_truth` over all kernel classes, by tissue, in HU.

    {"count", "largest", "error", "single_sd", "single_largest", "mean"}. largest: magnitude of a disc's change, output
    − input, in the mean of the scans; error: its standard error; single …: standard deviation and largest size of the
    change in single scans. mean: of output − truth.
    """
    found = {}
    for tissue in TISSUES:
        change, error, sd, single, output = (
            np.concatenate([[], *(one[tissue][name] for one in by_kind.values())])
            for name in ("change", "error", "sd", "single", "output")
        )
        if change.size:
            found[tissue] = {
                "count": int(change.size),
                "largest": float(np.abs(change).max()),
                "error": float(np.sqrt((error**2).mean())),
                "single_sd": float(np.sqrt((sd**2).mean())),
                "single_largest": float(single.max()),
                "mean": float(output.mean()),
            }
    return found


def edge_ratios(inserts: Mapping[str, Mapping[str, Any]], strength: float = 1.0) -> dict[str, dict[str, float]]:
    """{contrast: {class of kernels: f50 of the output ÷ f50 of the input}}."""
    found: dict[str, dict[str, float]] = {}
    for sharpness, one in inserts.items():
        for contrast, f50 in one["edges"][f"{strength:g}"].items():
            found.setdefault(contrast, {})[sharpness] = f50 / one["edges"]["input"][contrast]
    return found


def strengths(repeated: Mapping[str, Mapping[str, Any]], inserts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """{"default": by the rule, "curve": [{"strength", "noise_full", "shift_full", …, "edge_100", "edge_1000"}]}.

    noise: fraction of the noise removed. shift: relative decrease of its mean frequency; means over kernel classes.
    edge: the smallest ratio of f50, output to input, at that contrast and full dose.
    """
    curve = []
    for strength in STRENGTHS:
        row: dict[str, float] = {"strength": strength}
        for dose in ("full", "quarter"):
            known = [one[f"texture {dose}"] for one in repeated.values() if one[f"texture {dose}"]]
            left = [(one["input"], one["strengths"][f"{strength:g}"]) for one in known]
            row[f"noise_{dose}"] = float(np.mean([1 - b["sigma_hu"] / a["sigma_hu"] for a, b in left]))
            row[f"shift_{dose}"] = float(np.mean([shift(a, b) for a, b in left]))
        ratios = edge_ratios(inserts, strength)
        row |= {f"edge_{contrast}": float(np.min(list(ratios[contrast].values()))) for contrast in ("100", "1000")}
        curve.append(row)
    known = [one["texture full"] for one in repeated.values() if one["texture full"]]
    return {"default": default_strength(known), "curve": curve}
