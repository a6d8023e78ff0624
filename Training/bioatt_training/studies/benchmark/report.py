"""results.json and README.md: the benchmark's numbers for machines and for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from bioatt.io.files import atomic_write
from bioatt_training.studies.benchmark.asked import asked
from bioatt_training.studies.benchmark.baselines import BLENDED
from bioatt_training.studies.benchmark.markdown import Found, number, said, table
from bioatt_training.studies.benchmark.runner import MIDDLE, QUARTER
from bioatt_training.studies.benchmark.tables import BIAS, NOISE, PSNR, SSIM
from bioatt_training.studies.benchmark.texture import LARGEST_SHIFT
from bioatt_training.studies.benchmark.truth import LIMITS_PER_MM, SHARPNESS

DOSE_NAMES = {"0.25": "quarter", "0.5": "half", "0.1": "tenth"}
DIGITS = {PSNR: 2, SSIM: 3, BIAS: 2, NOISE: 1}
HEADINGS = ("PSNR dB", "SSIM", "bias HU", "noise HU")


def write_report(results: Found, figures: Mapping[str, str], folder: Path) -> None:
    """Write results.json and README.md, each whole or not at all; figures: {file in the folder: what it shows}."""
    with atomic_write(folder / "results.json") as partial:
        partial.write_text(json.dumps(results, indent=1), encoding="utf-8")
    with atomic_write(folder / "README.md") as partial:
        shown = [line for name, text in figures.items() for line in (f"![{text}]({name})", "", f"{text}.", "")]
        partial.write_text("\n".join([*_text(results), "## Figures", "", *shown]), encoding="utf-8")


def _text(results: Found) -> list[str]:
    models = list(results["models"])
    quarter = results["patients"]["0.25"]
    lines = [
        "# Benchmark",
        "",
        "Made by `bioatt-train benchmark` (measurements in [results.json](results.json)). Research use only, not for",
        "diagnosis. PSNR and SSIM in the window [-160, 240] HU; bias: soft tissue, output − truth; noise: standard",
        "deviation over 9×9 pixels in soft tissue, which coarser noise escapes (the repeated scans under Noise texture",
        "tell all of it). Soft tissue is where the truth, noisy as it is, shows some: in very noisy scans (neck, sharp",
        "kernels) an output without that noise shows a bias of its own, regression to the mean; phantoms have none.",
        "Means over patients of the mean over each patient's slices, with bootstrap 95 % intervals over patients.",
        "Models with the embedded prior of the noisy slice, at their default strength where no other is named.",
        "",
        *table(
            ["model", "SHA-256", "default strength", f"CPU seconds a {results['pixels']}² slice"],
            [
                [name, f"`{found['sha256'][:16]}`", f"{found['strength']:g}", f"{results['seconds'][name]:.2f}"]
                for name, found in results["models"].items()
            ],
        ),
        "",
        *asked(results, models),
        "",
        "## Left-out patients, against their scans",
        "",
        "The truth is the scan at full dose with its own noise, the input has noise inserted. That caps what can be",
        "reached (`benchmark/quality.py` derives both from the scans' own noise): *noise-free* is the PSNR that the",
        "anatomy without any noise would get, *oracle* that of the best estimate by someone who knows the anatomy.",
        "",
    ]
    if "with peers" in quarter:
        lines += _peers(results)
    for dose, name in DOSE_NAMES.items():
        lines += _patients(results["patients"][dose], name)
    lines += _phantoms(results["phantoms"])
    lines += _safety(results["safety"])
    lines += _texture(results)
    return lines


def _metrics(found: Found) -> list[str]:
    return [said(found[metric], digits) for metric, digits in DIGITS.items()]


def _peers(results: Found) -> list[str]:
    seconds = results["seconds"]
    lines = ["### With the tuned classical peers", ""]
    for dose, name in DOSE_NAMES.items():
        found = results["patients"][dose]["with peers"]
        rows = [
            [each, *_metrics(row), f"{seconds[each]:.2f}" if each in seconds else "–"]
            for each, row in found["table"].items()
        ]
        lines += [
            f"{name.capitalize()} dose, {found['slices']} slices of {_patients_of(found)} patients, middle {MIDDLE}²:",
            "",
            *table(["", *HEADINGS, "CPU s"], rows),
            "",
        ]
        best, plain = found[f"best {PSNR}"], found["best unblended"]
        for model, gain in found["gain"].items():
            by_kernel = ", ".join(f"{kind} {said(each, sign=True)}" for kind, each in gain["by kernel"].items())
            over_plain = f" Over {plain}: {said(gain['over unblended'], sign=True)} dB." if plain != best else ""
            lines += [
                f"{model} over {best}: {said(gain[PSNR], sign=True)} dB.{over_plain}",
                f"By kernel, over {plain}: {by_kernel}.",
                "",
            ]
    lines += [
        "Settings, chosen for PSNR at quarter dose on other patients, by class of kernel (scale: of the measured",
        "noise; strength: share of the change that is applied, tuned where it says blended, since a truth with noise",
        f"rewards noise that is left). Blended, as the models are: {', '.join(_blended(results))}.",
        "",
        *_settings(results["tuned"]["patients"]),
        "",
        f"Limit: peers get the middle {MIDDLE}² pixels alone, whose edge lacks surroundings; models get whole slices.",
        "",
    ]
    return lines


def _blended(results: Found) -> list[str]:
    """The filters that were tuned with their strength too."""
    settings = next(iter(results["tuned"]["patients"].values()))
    return [name.removesuffix(BLENDED) for name in settings if name.endswith(BLENDED)]


def _patients_of(found: Found) -> int:
    return found["table"]["low dose"][PSNR]["patients"]


def _settings(tuned: Found) -> list[str]:
    names = list(next(iter(tuned.values())))

    def setting(found: Found) -> str:
        return ", ".join(f"{key} {value:g}" for key, value in found.items())

    return table(["peer", *tuned], [[name, *(setting(tuned[kind][name]) for kind in tuned)] for name in names])


def _patients(found: Found, name: str) -> list[str]:
    limits = found["limits"]
    first = next(iter(found["all"].values()))
    rows = [[each, *_metrics(row)] for each, row in found["all"].items()]
    rows += [
        ["*noise-free*", said(limits["noise_free_db"]), "", "", ""],
        ["*oracle*", said(limits["oracle_db"]), "", "", ""],
    ]
    lines = [f"### {name.capitalize()} dose, {first[PSNR]['patients']} patients", "", *table(["", *HEADINGS], rows), ""]
    parts = {**{f"{kind} kernels": found["by kernel"][kind] for kind in SHARPNESS}, **found["by region"]}
    parts["head (in training)"] = found["seen in training"]
    rows = []
    for part, denoisers in parts.items():
        if denoisers:
            rows += [[part, str(row[PSNR]["patients"]), each, *_metrics(row)] for each, row in denoisers.items()]
    return [*lines, *table(["", "patients", "", *HEADINGS], rows), ""]


def _phantoms(found: Found) -> list[str]:
    lines = [
        "## Phantoms, against the noise-free scan",
        "",
        "Quarter dose; the patients are torsos of seeds that no training used. Weights were chosen by what they make",
        "of these torsos (the models' cards say which): the chosen ones look better here than on others.",
        "",
    ]
    if "with peers" in found:
        rows = [[each, *_metrics(row)] for each, row in found["with peers"]["table"].items()]
        patients = _patients_of(found["with peers"])
        lines += [
            f"With the peers, {found['with peers']['slices']} slices of {patients} torsos, middle {MIDDLE}²:",
            "",
            *table(["", *HEADINGS], rows),
            "",
        ]
    rows = [["all", each, *_metrics(row)] for each, row in found["all"].items()]
    for part, denoisers in {**found["by kernel"], **found["by region"]}.items():
        rows += [[part, each, *_metrics(row)] for each, row in denoisers.items()]
    return [*lines, *table(["", "", *HEADINGS], rows), ""]


def _safety(safety: Found) -> list[str]:
    lines = ["## Full-dose safety", ""]
    rows = []
    for name, found in safety.items():
        for tissue, each in found["discs"].items():
            against = each["predicted"]
            predicted = f"{against['sd']:.2f} / {against['predicted_sd']:.2f} ({against['count']})" if against else "–"
            rows.append(
                [
                    name,
                    tissue,
                    str(each["count"]),
                    f"{each['mean']:+.2f}",
                    f"{each['sd']:.2f}",
                    number(each["largest"]),
                    predicted,
                    f"{each['noise_sd']:.2f}",
                ]
            )
    lines += [
        "Discs of 10 mm in the scans of left-out patients: shift = output − input, HU. Predicted: from the covariance",
        "of what was removed, beside the shifts' on the same slices, those with room for a spectrum (32×32 pixels of",
        "soft tissue); own noise: the standard deviation that the scan's noise gives such a disc's mean.",
        "",
        *table(
            [
                *("model", "tissue", "discs", "mean shift", "SD of shift", "largest shift"),
                *("SD / predicted (discs)", "own noise's SD"),
            ],
            rows,
        ),
        "",
    ]
    for name, found in safety.items():
        lines.append(f"{name}: change of the whole image ÷ the scan's own noise {said(found['change_of_noise'])}.")
    rows = [
        [name, contrast, *(number(ratios.get(kind, math.nan), 3) for kind in SHARPNESS)]
        for name, found in safety.items()
        for contrast, ratios in found["edges"].items()
    ]
    return [
        *lines,
        "",
        "TTF f50, output ÷ input, full dose (the mean of several scans; the input's without noise):",
        "",
        *table(["model", "contrast HU", *SHARPNESS], rows),
        "",
    ]


def _texture(results: Found) -> list[str]:
    lines = [
        "## Noise texture",
        "",
        "Noise: the spread of repeated scans of one torso, in soft tissue; frequencies in 1/mm. Kernel classes by the",
        f"mean frequency of the noise: soft below {LIMITS_PER_MM[0]}, sharp from {LIMITS_PER_MM[1]}.",
        "",
    ]
    rows = []
    for name, textures in results["texture"].items():
        for where in ("anatomy", "water"):
            for kind, doses in textures[where].items():
                for dose, found in doses.items():
                    if found:
                        a, b, r = found["input"], found["output"], found["removed"]
                        pairs = [f"{number(a[key])} → {number(b[key])}" for key in ("mean_per_mm", "peak_per_mm")]
                        rows.append(
                            [
                                name,
                                where,
                                kind,
                                dose,
                                f"{a['sigma_hu']:.1f} → {b['sigma_hu']:.1f}",
                                *pairs,
                                number(r["mean_per_mm"]),
                            ]
                        )
    lines += [
        *table(["model", "in", "kernel", "dose", "noise HU", "mean frequency", "peak", "removed: mean"], rows),
        "",
    ]
    rows = []
    for name, kinds in results["patients"]["0.25"]["removed noise"].items():
        for kind, ratios in kinds.items():
            if ratios:
                rows.append([name, kind, *(said(ratios[key]) for key in ("mean_per_mm", "peak_per_mm", "sigma_hu"))])
    lines += [
        "Left-out patients at quarter dose, removed noise ÷ inserted noise in soft tissue. What is removed holds the",
        f"scan's own noise too: a denoiser that took all of it would show σ {1 / math.sqrt(1 - QUARTER):.2f}.",
        "",
        *table(["model", "kernel", "mean frequency", "peak", "σ"], rows),
        "",
        "### Default strength",
        "",
        "Rule: the largest strength at which the noise's mean frequency at full dose falls by no more than",
        f"{LARGEST_SHIFT:.0%}. The bound is our choice: clinical scans with iterative reconstruction at the levels in",
        "routine use have peaks 30 to 48 % lower than without (ASIR 30 and 50 %, chest and abdomen; SFPM 2017).",
        "",
    ]
    columns = {
        "noise_full": "noise −%, full",
        "shift_full": "mean frequency −%, full",
        "noise_quarter": "noise −%, quarter",
        "shift_quarter": "mean frequency −%, quarter",
    }
    headings = ["strength", *columns.values(), "least f50 ratio, 100 HU", "1000 HU"]
    for name, found in results["strengths"].items():
        rows = [
            [
                f"{row['strength']:g}",
                *(f"{100 * row[key]:.0f}" for key in columns),
                *(number(row[key], 3) for key in ("edge_100", "edge_1000")),
            ]
            for row in found["curve"]
        ]
        lines += [f"{name}: **{found['default']:g}**", "", *table(headings, rows), ""]
    return lines
