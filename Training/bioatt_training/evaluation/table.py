"""Results of `evaluate` as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bioatt.core.metrics import TISSUES, WINDOWS
from bioatt_training.evaluation.compare import Result, differences
from bioatt_training.evaluation.judge import columns
from bioatt_training.evaluation.protocol import METRICS

NOISE = {
    "noise/low_hu": "σ of the input, HU",
    "noise/output_hu": "σ of the output, HU",
    "noise/target_hu": "σ of the scan itself, HU",
    "noise/output_over_low": "σ output / input",
    "noise/output_over_target": "σ output / scan itself",
    "spectrum/removed_over_inserted": "σ removed / inserted",
    "spectrum/peak_inserted_per_mm": "NPS peak of the inserted noise, 1/mm",
    "spectrum/peak_removed_per_mm": "NPS peak of what was removed, 1/mm",
    "spectrum/mean_inserted_per_mm": "NPS mean frequency of the inserted noise, 1/mm",
    "spectrum/mean_removed_per_mm": "NPS mean frequency of what was removed, 1/mm",
}


def report(result: Result) -> str:
    """One model: by patient, by window, by tissue, noise, and the paper's protocol."""
    said = result["judgement"]
    lines = [
        f"## {result['model']}",
        "",
        f"{len(result['patients'])} left-out patients ({said['part']}), {sum(r['slices'] for r in result['patients'])} "
        f"slices, dose {said['dose']:g}, against the scan itself. Prior: {said['prior']}."
        f" Strength {said['strength']:g}.",
        "Intervals: bootstrap, 95 %, over patients.",
    ]
    if said["whole"]:
        lines += ["", *_patients(result), "", *_windows(result), "", *_tissues(result), "", *_noise(result)]
    if result["protocol"]:
        lines += ["", *_protocol(result)]
    return "\n".join(lines)


def comparison(results: Sequence[Result]) -> str:
    """`differences` as a table."""
    lines = []
    for found in differences(results):
        lines += [
            f"## {found['model']} − {found['against']}",
            "",
            "| figure | patients | difference [95 % interval] | p (Wilcoxon) |",
            "| --- | --- | --- | --- |",
        ]
        for name, test in found["figures"].items():
            p = "" if test["wilcoxon_p"] is None else f"{test['wilcoxon_p']:.2g}"
            lines.append(f"| {name} | {test['pairs']} | {bounds(test['difference'], 4, sign=True)} | {p} |")
        lines += ["", f"{len(found['figures'])} tests; p values are not corrected for their number.", ""]
    return "\n".join(lines)


def bounds(values: Sequence[float | None], digits: int, *, sign: bool = False, unit: str = "") -> str:
    """mean unit [low, high], or the mean of one value."""
    mean, low, high = (f"{np.nan if value is None else value:{'+' if sign else ''}.{digits}f}" for value in values)
    known = all(value is not None and np.isfinite(value) for value in values[1:])
    return f"{mean}{unit} [{low}, {high}]" if known else f"{mean}{unit} (n = 1)"


def _patients(result: Result) -> list[str]:
    """A patient a line, soft-tissue window."""
    lines = [
        f"Soft-tissue window {list(WINDOWS['soft tissue'])} HU:",
        "",
        "| patient | slices | PSNR low dose | PSNR denoised | gain dB | SSIM low dose | SSIM denoised | bias HU |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in result["patients"]:
        value = row["values"]
        low, high = value["soft tissue/psnr_db_low"], value["soft tissue/psnr_db"]
        gain = None if low is None or high is None else high - low
        cells = (low, 2), (high, 2), (gain, 2), (value["soft tissue/ssim_low"], 3), (value["soft tissue/ssim"], 3)
        shown = [_number(*cell) for cell in (*cells, (value.get("bias_hu/soft tissue"), 2))]
        lines.append(f"| {row['patient']} | {row['slices']} | {' | '.join(shown)} |")
    return lines


def _windows(result: Result) -> list[str]:
    lines = [
        "| window HU | RMSE HU, low dose | RMSE HU | PSNR dB, low dose | PSNR dB | SSIM, low dose | SSIM |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, (low, high) in WINDOWS.items():
        cells = [
            _mean_sd(result, f"{name}/{figure}{suffix}", digits)
            for figure, digits in (("rmse_hu", 1), ("psnr_db", 2), ("ssim", 3))
            for suffix in ("_low", "")
        ]
        lines.append(f"| {name} {low:g} … {high:g} | {' | '.join(cells)} |")
    return [*lines, "", "Mean ± SD over patients [interval of the mean]. The data range is the window's width."]


def _tissues(result: Result) -> list[str]:
    lines = ["| tissue | patients | bias HU (output − scan) |", "| --- | --- | --- |"]
    found = columns(result["patients"])
    for tissue in TISSUES:
        name = f"bias_hu/{tissue}"
        if name in found:
            patients = int((found[name] == found[name]).sum())
            lines.append(f"| {tissue} | {patients} | {_mean_sd(result, name, 2)} |")
    return lines


def _noise(result: Result) -> list[str]:
    lines = ["| noise in soft tissue | |", "| --- | --- |"]
    return lines + [
        f"| {said} | {_mean_sd(result, name, 2)} |" for name, said in NOISE.items() if name in result["mean"]
    ]


def _protocol(result: Result) -> list[str]:
    lines = [
        f"The paper's protocol: {result['protocol']['rmse']['patches']} patches of 55², standardised, data range 1.0:",
        "",
        "| | RMSE | PSNR dB | SSIM |",
        "| --- | --- | --- | --- |",
    ]
    for suffix, said in (("_low", "low dose, mean ± SD over patches"), ("", "denoised, mean ± SD over patches")):
        cells = [result["protocol"][f"{metric}{suffix}"] for metric in METRICS]
        digits = (4, 2, 4)
        shown = [f"{cell['mean']:.{n}f} ± {cell['sd']:.{n}f}" for cell, n in zip(cells, digits, strict=True)]
        lines.append(f"| {said} | {' | '.join(shown)} |")
    means = [bounds(result["mean"][f"protocol/{metric}"], n) for metric, n in zip(METRICS, (4, 2, 4), strict=True)]
    return [*lines, f"| denoised, mean over patients [interval] | {' | '.join(means)} |"]


def _mean_sd(result: Result, name: str, digits: int) -> str:
    if name not in result["mean"]:
        return ""
    return bounds(result["mean"][name], digits, unit=f" ± {_number(result['sd'][name], digits)}")


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
