"""Results of `evaluate` as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bioatt.core.metrics import TISSUES, WINDOWS
from bioatt_training.evaluation.compare import Result, differences
from bioatt_training.evaluation.judge import columns
from bioatt_training.evaluation.protocol import METRICS
from bioatt_training.reporting import format_interval, format_mean_sd, format_number, markdown_table

NOISE = {
    "noise/low_hu": "σ of the input, HU",
    "noise/output_hu": "σ of the output, HU",
    "noise/target_hu": "σ of the scan, HU",
    "noise/output_over_low": "σ output / input",
    "noise/output_over_target": "σ output / scan",
    "spectrum/removed_over_inserted": "σ removed / inserted",
    "spectrum/peak_inserted_per_mm": "NPS peak of the inserted noise, 1/mm",
    "spectrum/peak_removed_per_mm": "NPS peak of the removed noise, 1/mm",
    "spectrum/mean_inserted_per_mm": "NPS mean frequency of the inserted noise, 1/mm",
    "spectrum/mean_removed_per_mm": "NPS mean frequency of the removed noise, 1/mm",
}


def report(result: Result) -> str:
    """Tables of one model: by patient, window and tissue, noise, and the paper's protocol."""
    said = result["judgement"]
    lines = [
        f"## {result['model']}",
        "",
        f"{len(result['patients'])} held-out patients ({said['part']}), {sum(r['slices'] for r in result['patients'])} "
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
        rows = [
            [
                name,
                str(test["pairs"]),
                format_interval(test["difference"], 4, sign=True),
                "" if test["wilcoxon_p"] is None else f"{test['wilcoxon_p']:.2g}",
            ]
            for name, test in found["figures"].items()
        ]
        lines += [
            f"## {found['model']} − {found['against']}",
            "",
            *markdown_table(["figure", "patients", "difference [95 % interval]", "p (Wilcoxon)"], rows),
            "",
            f"{len(rows)} tests; p values are not corrected for multiple comparisons.",
            "",
        ]
    return "\n".join(lines)


def _patients(result: Result) -> list[str]:
    """One row per patient, soft-tissue window."""
    rows = []
    for row in result["patients"]:
        value = row["values"]
        low, high = value["soft tissue/psnr_db_low"], value["soft tissue/psnr_db"]
        gain = None if low is None or high is None else high - low
        cells = (low, 2), (high, 2), (gain, 2), (value["soft tissue/ssim_low"], 3), (value["soft tissue/ssim"], 3)
        shown = [format_number(*cell) for cell in (*cells, (value.get("bias_hu/soft tissue"), 2))]
        rows.append([row["patient"], str(row["slices"]), *shown])
    headings = ["patient", "slices", "PSNR low dose", "PSNR denoised", "gain dB", "SSIM low dose", "SSIM denoised"]
    return [
        f"Soft-tissue window {list(WINDOWS['soft tissue'])} HU:",
        "",
        *markdown_table([*headings, "bias HU"], rows),
    ]


def _windows(result: Result) -> list[str]:
    figures = {"rmse_hu": ("RMSE HU", 1), "psnr_db": ("PSNR dB", 2), "ssim": ("SSIM", 3)}
    rows = [
        [
            f"{name} {low:g} … {high:g}",
            *(
                _mean_sd(result, f"{name}/{figure}{suffix}", digits)
                for figure, (_, digits) in figures.items()
                for suffix in ("_low", "")
            ),
        ]
        for name, (low, high) in WINDOWS.items()
    ]
    headings = [heading for text, _ in figures.values() for heading in (f"{text}, low dose", text)]
    return [
        *markdown_table(["window HU", *headings], rows),
        "",
        "Mean ± SD over patients [interval of the mean]. The data range is the window's width.",
    ]


def _tissues(result: Result) -> list[str]:
    found = columns(result["patients"])
    rows = [
        [tissue, str(int(np.isfinite(found[name]).sum())), _mean_sd(result, name, 2)]
        for tissue, name in ((tissue, f"bias_hu/{tissue}") for tissue in TISSUES)
        if name in found
    ]
    return markdown_table(["tissue", "patients", "bias HU (output − scan)"], rows)


def _noise(result: Result) -> list[str]:
    rows = [[text, _mean_sd(result, name, 2)] for name, text in NOISE.items() if name in result["mean"]]
    return markdown_table(["noise in soft tissue", ""], rows)


def _protocol(result: Result) -> list[str]:
    protocol, digits = result["protocol"], dict(zip(METRICS, (4, 2, 4), strict=True))
    rows = [
        [
            f"{text}, mean ± SD over patches",
            *(format_mean_sd(protocol[f"{name}{suffix}"], n) for name, n in digits.items()),
        ]
        for suffix, text in (("_low", "low dose"), ("", "denoised"))
    ]
    means = [format_interval(result["mean"][f"protocol/{name}"], n) for name, n in digits.items()]
    return [
        f"The paper's protocol: {protocol['rmse']['patches']} patches of 55², standardised, data range 1.0:",
        "",
        *markdown_table(["", "RMSE", "PSNR dB", "SSIM"], [*rows, ["denoised, mean over patients [interval]", *means]]),
    ]


def _mean_sd(result: Result, name: str, digits: int) -> str:
    if name not in result["mean"]:
        return ""
    return format_interval(result["mean"][name], digits, unit=f" ± {format_number(result['sd'][name], digits)}")
