"""results.json and README.md of a benchmark. README.md is written from results.json alone:

python -m bioatt_training.studies.benchmark.report Training/results/benchmark
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bioatt_training.reporting import (
    DASH,
    format_interval,
    format_number,
    markdown_figures,
    markdown_table,
    write_json,
    write_markdown,
)
from bioatt_training.studies.benchmark.baselines import BLENDED
from bioatt_training.studies.benchmark.measures.texture import LARGEST_SHIFT
from bioatt_training.studies.benchmark.runner import MIDDLE, QUARTER
from bioatt_training.studies.benchmark.tables import BIAS, NOISE, PSNR, SSIM
from bioatt_training.studies.benchmark.truth import LIMITS_PER_MM, SHARPNESS

Found = Mapping[str, Any]
DOSE_NAMES = {"0.25": "quarter", "0.5": "half", "0.1": "tenth"}
DIGITS = {PSNR: 2, SSIM: 3, BIAS: 2, NOISE: 1}
HEADINGS = ("PSNR dB", "SSIM", "bias HU", "noise HU")


def write_report(results: Found, figures: Mapping[str, str], folder: Path) -> None:
    """Write results.json and README.md, each whole or not at all; figures: captions by file name."""
    write_json(folder / "results.json", {**results, "figures": figures})
    write_readme(folder)


def write_readme(folder: Path) -> None:
    """Write README.md from the folder's results.json."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    write_markdown(folder / "README.md", readme(results))


def readme(results: Found) -> list[str]:
    """The lines of README.md."""
    quarter = results["patients"]["0.25"]
    lines = [
        "# Benchmark",
        "",
        "Made by `bioatt-train benchmark` (all values in [results.json](results.json)). Research use only, not for",
        "diagnosis. PSNR and SSIM in the window [-160, 240] HU. Bias: output − reference in soft tissue. Noise: local",
        "standard deviation over 9×9 pixels in soft tissue, which underestimates coarse noise (the repeated scans in",
        "section Noise texture do not). Soft tissue is segmented on the reference, including its noise: in very noisy",
        "scans (neck, sharp kernels) an output without that noise has a bias by regression to the mean; phantoms have",
        "none. Values are means over patients of each patient's mean, with bootstrap 95 % intervals over patients.",
        "Models use their own prior of the noisy slice, at their default strength unless another is named.",
        "",
        *_models(results),
        "",
        "## Test patients, against their scans",
        "",
        "The reference is the full-dose scan with its own noise; the input has inserted noise. The reference's noise",
        "limits the PSNR: *noise-free* is the PSNR of the noise-free anatomy, *oracle* that of the best estimate given",
        "the anatomy (both from the scans' own noise, `limits` in `benchmark/measures/quality.py`).",
        "",
    ]
    if "with baselines" in quarter:
        lines += _baselines(results)
    for dose, name in DOSE_NAMES.items():
        lines += _patients(results["patients"][dose], name)
    lines += _phantoms(results["phantoms"])
    lines += _safety(results["safety"])
    lines += _texture(results)
    return [*lines, "## Figures", "", *markdown_figures(results["figures"])]


def _interval(found: Found, digits: int = 2, *, sign: bool = False) -> str:
    """An interval of `tables.over_patients`; a dash for no patients."""
    if not found or not found["patients"]:
        return DASH
    return format_interval((found["mean"], found["low"], found["high"]), digits, sign=sign, count=found["patients"])


def _metrics(found: Found) -> list[str]:
    return [_interval(found[metric], digits) for metric, digits in DIGITS.items()]


def _models(results: Found) -> list[str]:
    return markdown_table(
        ["model", "SHA-256", "default strength", f"CPU seconds per {results['pixels']}² slice"],
        [
            [name, f"`{found['sha256'][:16]}`", f"{found['strength']:g}", f"{results['seconds'][name]:.2f}"]
            for name, found in results["models"].items()
        ],
    )


def _baselines(results: Found) -> list[str]:
    lines = ["### Beside the tuned classical filters", ""]
    for dose, name in DOSE_NAMES.items():
        found, seconds = results["patients"][dose]["with baselines"], results["seconds"]
        rows = [[each, *_metrics(row), format_number(seconds.get(each))] for each, row in found["table"].items()]
        lines += [
            f"{name.capitalize()} dose, {found['slices']} slices of {_patients_of(found)} patients, middle {MIDDLE}²:",
            "",
            *markdown_table(["", *HEADINGS, "CPU s"], rows),
            "",
            *_gains(found),
        ]
    tuned = results["tuned"]["patients"]
    blended = [name.removesuffix(BLENDED) for name in next(iter(tuned.values())) if name.endswith(BLENDED)]
    return [
        *lines,
        "Settings, chosen for PSNR at quarter dose on other patients, by kernel class (scale: relative to the measured",
        "noise level; strength: fraction of the change that is applied, tuned where the name says blended, since a",
        f"noisy reference rewards remaining noise). Blended, as the models are: {', '.join(blended)}.",
        "",
        *_settings(tuned),
        "",
        f"Limitation: filters get the middle {MIDDLE}² pixels without context at the border; models get whole slices.",
        "",
    ]


def _gains(found: Found) -> list[str]:
    """Each model's gain over the best filter, and by kernel over the best one that is not blended."""
    best, plain, lines = found[f"best {PSNR}"], found["best unblended"], []
    for model, gain in found["gain"].items():
        by_kernel = ", ".join(f"{kind} {_interval(each, sign=True)}" for kind, each in gain["by kernel"].items())
        over_plain = f" Over {plain}: {_interval(gain['over unblended'], sign=True)} dB." if plain != best else ""
        lines += [
            f"{model} over {best}: {_interval(gain[PSNR], sign=True)} dB.{over_plain}",
            f"SSIM over {found[f'best {SSIM}']}: {_interval(gain[SSIM], 3, sign=True)}.",
            f"By kernel, over {plain}: {by_kernel}.",
            "",
        ]
    return lines


def _patients_of(found: Found) -> int:
    return found["table"]["low dose"][PSNR]["patients"]


def _settings(tuned: Found) -> list[str]:
    def setting(found: Found) -> str:
        return ", ".join(f"{key} {value:g}" for key, value in found.items())

    names = next(iter(tuned.values()))
    return markdown_table(
        ["filter", *tuned], [[name, *(setting(tuned[kind][name]) for kind in tuned)] for name in names]
    )


def _patients(found: Found, name: str) -> list[str]:
    limits = found["limits"]
    first = next(iter(found["all"].values()))
    rows = [[each, *_metrics(row)] for each, row in found["all"].items()]
    rows += [[f"*{each}*", _interval(limits[key]), "", "", ""] for each, key in LIMITS.items()]
    parts = {**{f"{kind} kernels": found["by kernel"][kind] for kind in SHARPNESS}, **found["by region"]}
    parts["head (in training)"] = found["seen in training"]
    details = [
        [part, str(row[PSNR]["patients"]), each, *_metrics(row)]
        for part, denoisers in parts.items()
        for each, row in denoisers.items()
    ]
    return [
        f"### {name.capitalize()} dose, {first[PSNR]['patients']} patients",
        "",
        *markdown_table(["", *HEADINGS], rows),
        "",
        *markdown_table(["", "patients", "", *HEADINGS], details),
        "",
    ]


LIMITS = {"noise-free": "noise_free_db", "oracle": "oracle_db"}
"""Rows that show how far the reference's own noise lets a PSNR go."""


def _phantoms(found: Found) -> list[str]:
    lines = [
        "## Phantoms, against the noise-free scan",
        "",
        "Quarter dose; the patients are torsos of seeds that no training used.",
        "",
    ]
    if "with baselines" in found:
        beside = found["with baselines"]
        lines += [
            f"Beside the filters, {beside['slices']} slices of {_patients_of(beside)} torsos, middle {MIDDLE}²:",
            "",
            *markdown_table(["", *HEADINGS], [[each, *_metrics(row)] for each, row in beside["table"].items()]),
            "",
            *_gains(beside),
            *_bias_against_filters(beside),
        ]
    parts = {"all": found["all"], **found["by kernel"], **found["by region"]}
    rows = [[part, each, *_metrics(row)] for part, denoisers in parts.items() for each, row in denoisers.items()]
    return [*lines, *markdown_table(["", "", *HEADINGS], rows), ""]


def _bias_against_filters(found: Found) -> list[str]:
    """Size of each model's bias less the best filter's: in all, and of what each adds to the low dose's own."""
    rows = [
        [model, *(_interval(gain[f"size of {what}"], sign=True) for what in (BIAS, f"added {BIAS}"))]
        for model, gain in found["gain"].items()
    ]
    return [
        f"Magnitude of the soft-tissue bias in HU, minus that of {found['best unblended']}; added: beyond the bias of",
        "the low dose itself, which is due to photon starvation:",
        "",
        *markdown_table(["", "bias", "added bias"], rows),
        "",
    ]


def _safety(safety: Found) -> list[str]:
    discs = [[name, tissue, *_discs(each)] for name, found in safety.items() for tissue, each in found["discs"].items()]
    phantom = [
        [
            name,
            tissue,
            str(each["count"]),
            f"{format_number(each['largest'])} ± {format_number(each['error'])}",
            format_number(each["single_sd"]),
            format_number(each["single_largest"]),
        ]
        for name, found in safety.items()
        for tissue, each in found["truth_discs"].items()
    ]
    edges = [
        [name, contrast, *(format_number(ratios.get(kind), 3) for kind in SHARPNESS)]
        for name, found in safety.items()
        for contrast, ratios in found["edges"].items()
    ]
    return [
        "## Full-dose safety",
        "",
        "Discs of 10 mm in the scans of test patients: shift = output − input, HU. Predicted: from the covariance of",
        "the removed noise, beside the shifts' SD on the same slices, those with room for a spectrum (32×32 pixels of",
        "soft tissue); own noise: the SD that the scan's noise gives the mean of such a disc.",
        "",
        *markdown_table(
            [
                *("model", "tissue", "discs", "mean shift", "SD of shift", "largest shift"),
                *("SD / predicted (discs)", "SD ÷ predicted", "own noise's SD"),
            ],
            discs,
        ),
        "",
        *(
            f"{name}: change of the whole image ÷ the scan's own noise {_interval(found['change_of_noise'])}."
            for name, found in safety.items()
        ),
        "",
        "Discs of a phantom: largest shift in the mean of many scans ± standard error; shifts in single scans, HU:",
        "",
        *markdown_table(
            ["model", "tissue", "discs", "largest shift", "SD, single scans", "largest, single scans"], phantom
        ),
        "",
        "TTF f50, output ÷ input, full dose (mean of many scans; input without noise):",
        "",
        *markdown_table(["model", "contrast HU", *SHARPNESS], edges),
        "",
    ]


def _discs(found: Found) -> list[str]:
    """Cells of one tissue's discs."""
    against = found["predicted"]
    sd = f"{against['sd']:.2f} / {against['predicted_sd']:.2f} ({against['count']})" if against else DASH
    return [
        str(found["count"]),
        format_number(found["mean"], sign=True),
        format_number(found["sd"]),
        format_number(found["largest"]),
        sd,
        _interval(against["ratio"]) if against else DASH,
        format_number(found["noise_sd"]),
    ]


def _texture(results: Found) -> list[str]:
    return [
        "## Noise texture",
        "",
        "Noise: deviation of repeated scans of one torso from their mean, in soft tissue; frequencies in 1/mm. Kernel",
        f"classes by the mean frequency of the noise: soft below {LIMITS_PER_MM[0]}, sharp from {LIMITS_PER_MM[1]}.",
        "",
        *markdown_table(
            ["model", "in", "kernel", "dose", "noise HU", "mean frequency", "peak", "removed: mean"],
            [
                [name, where, kind, dose, *_before_and_after(found)]
                for name, textures in results["texture"].items()
                for where in ("anatomy", "water")
                for kind, doses in textures[where].items()
                for dose, found in doses.items()
                if found
            ],
        ),
        "",
        *_removed_noise(results["patients"]["0.25"]["removed noise"]),
        *_strengths(results["strengths"]),
    ]


def _before_and_after(found: Found) -> list[str]:
    a, b = found["input"], found["output"]
    return [
        *(
            f"{format_number(a[key], digits)} → {format_number(b[key], digits)}"
            for key, digits in (("sigma_hu", 1), ("mean_per_mm", 2), ("peak_per_mm", 2))
        ),
        format_number(found["removed"]["mean_per_mm"]),
    ]


def _removed_noise(by_model: Found) -> list[str]:
    rows = [
        [name, kind, *(_interval(ratios[key]) for key in ("mean_per_mm", "peak_per_mm", "sigma_hu"))]
        for name, kinds in by_model.items()
        for kind, ratios in kinds.items()
        if ratios
    ]
    return [
        "Test patients at quarter dose, removed ÷ inserted noise in soft tissue. The removed noise includes the scan's",
        f"own: if all of it were removed, the ratio of σ would be {1 / math.sqrt(1 - QUARTER):.2f}.",
        "",
        *markdown_table(["model", "kernel", "mean frequency", "peak", "σ"], rows),
        "",
    ]


def _strengths(strengths: Found) -> list[str]:
    columns = {
        "noise_full": "noise −%, full",
        "shift_full": "mean frequency −%, full",
        "noise_quarter": "noise −%, quarter",
        "shift_quarter": "mean frequency −%, quarter",
    }
    headings = ["strength", *columns.values(), "lowest f50 ratio, 100 HU", "1000 HU"]
    lines = [
        "### Default strength",
        "",
        "Rule: the largest strength at which the mean frequency of the noise at full dose falls by at most",
        f"{LARGEST_SHIFT:.0%}. The bound is a choice of this project: in clinical scans, iterative reconstruction at",
        "routine levels lowers the peak frequency by 30 to 48 % (ASIR 30 and 50 %, chest and abdomen; SFPM 2017).",
        "",
    ]
    for name, found in strengths.items():
        rows = [
            [
                f"{row['strength']:g}",
                *(f"{100 * row[key]:.0f}" for key in columns),
                *(format_number(row[key], 3) for key in ("edge_100", "edge_1000")),
            ]
            for row in found["curve"]
        ]
        lines += [f"{name}: **{found['default']:g}**", "", *markdown_table(headings, rows), ""]
    return lines


if __name__ == "__main__":
    write_readme(Path(sys.argv[1]))
