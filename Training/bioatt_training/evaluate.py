"""How well a model does on patients it never saw: quarter dose against the scan, by patient, with intervals."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bioatt.denoiser import Denoiser
from bioatt.errors import InputError
from bioatt.metrics import WINDOWS, hu_bias, psnr, ssim
from bioatt.outputs import appearing_whole
from bioatt.volume import Volume
from bioatt_training.bank import Bank
from bioatt_training.patches import noise_scale

WINDOW = "soft tissue"
RESAMPLES = 2000


def evaluate(
    model: str, bank: Bank, part: str, dose: float, *, progress: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Metrics of a model on the slices of a bank's part at a dose fraction.

    Returns {"patients": [{patient, slices, psnr_low_db, psnr_db, ssim_low, ssim, bias_hu}], "mean": {name: [mean, low,
    high]}}: means over patients with bootstrap 95 % intervals over patients. bias_hu: soft tissue, output − target.
    """
    if not bank.indices(part):
        raise InputError(f"the bank has no {part} slices: choose another part, or make it with more patients")
    denoiser = Denoiser(model)
    by_patient: dict[str, list[int]] = {}
    for index in bank.indices(part):
        by_patient.setdefault(bank.slices[index].patient, []).append(index)
    rows = []
    for patient, indices in sorted(by_patient.items()):
        slices = [_judged(denoiser, bank, index, dose) for index in indices]
        row = {name: _mean([one[name] for one in slices]) for name in slices[0]}
        rows.append({"patient": patient, "slices": len(indices), **row})
        progress(patient)
    names = [name for name in rows[0] if name not in ("patient", "slices")]
    rows_of = {name: np.array([np.nan if row[name] is None else row[name] for row in rows]) for name in names}
    rows_of["psnr_gain_db"] = rows_of["psnr_db"] - rows_of["psnr_low_db"]
    rows_of["ssim_gain"] = rows_of["ssim"] - rows_of["ssim_low"]
    return {
        "model": denoiser.model.name,
        "sha256": denoiser.model.sha256,
        "part": part,
        "dose": dose,
        "window_hu": list(WINDOWS[WINDOW]),
        "patients": rows,
        "mean": {name: _interval(values) for name, values in rows_of.items()},
    }


def _judged(denoiser: Denoiser, bank: Bank, index: int, dose: float) -> dict[str, float]:
    """Metrics of one slice, before and after."""
    target, noise = bank.pair(index)
    one = bank.slices[index]
    low = np.clip(np.rint(target + noise * noise_scale(dose)), -1024, 3071).astype(np.int16)
    volume = Volume(low[None], spacing=(one.pixel_mm, one.pixel_mm, one.thickness_mm or 5.0))
    output = denoiser.denoise(volume).volume.hu[0]
    window = WINDOWS[WINDOW]
    return {
        "psnr_low_db": psnr(target, low, window),
        "psnr_db": psnr(target, output, window),
        "ssim_low": ssim(target, low, window),
        "ssim": ssim(target, output, window),
        "bias_hu": hu_bias(np.asarray(target), output).get("soft tissue", float("nan")),
    }


def _mean(values: list[float]) -> float | None:
    """Mean of the finite values: slices without soft tissue have no bias, equal images no PSNR."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else None


def _interval(values: NDArray[np.float64]) -> list[float]:
    """Mean over the patients that have a value and its bootstrap 95 % interval."""
    values = values[np.isfinite(values)]
    rng = np.random.default_rng(0)
    means = rng.choice(values, size=(RESAMPLES, values.size)).mean(axis=1)
    return [float(values.mean()), *(float(bound) for bound in np.percentile(means, [2.5, 97.5]))]


def table(result: dict[str, Any]) -> str:
    """The result as Markdown, a patient a line."""
    lines = [
        f"{result['model']} on {len(result['patients'])} left-out patients ({result['part']}), "
        f"dose {result['dose']:g}, window {result['window_hu']} HU, against the scan itself",
        "",
        "| patient | slices | PSNR low dose | PSNR denoised | gain dB | SSIM low dose | SSIM denoised | bias HU |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in result["patients"]:
        gain = row["psnr_db"] - row["psnr_low_db"]
        lines.append(
            f"| {row['patient']} | {row['slices']} | {row['psnr_low_db']:.2f} | {row['psnr_db']:.2f} | {gain:.2f} "
            f"| {row['ssim_low']:.3f} | {row['ssim']:.3f} "
            f"| {'' if row['bias_hu'] is None else format(row['bias_hu'], '.2f')} |"
        )
    gain, similarity = result["mean"]["psnr_gain_db"], result["mean"]["ssim_gain"]
    lines += ["", f"Mean gain {_said(gain, 2)} dB, SSIM {_said(similarity, 3)} (95 % interval over patients)."]
    return "\n".join(lines)


def _said(interval: Sequence[float], digits: int) -> str:
    mean, low, high = (f"{value:+.{digits}f}" for value in interval)
    return f"{mean} [{low}, {high}]"


def write_json(result: dict[str, Any], path: Path) -> None:
    """Write the result whole or not at all."""
    with appearing_whole(path) as partial:
        partial.write_text(json.dumps(result, indent=1), encoding="utf-8")
