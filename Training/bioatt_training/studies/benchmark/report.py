"""results.json and README.md: the benchmark's numbers for machines and for people."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bioatt.io.outputs import appearing_whole
from bioatt_training.studies.benchmark.runner import MIDDLE, QUARTER
from bioatt_training.studies.benchmark.tables import BIAS, NOISE, PSNR, SSIM
from bioatt_training.studies.benchmark.texture import LARGEST_SHIFT
from bioatt_training.studies.benchmark.truth import LIMITS_PER_MM, SHARPNESS

DOSE_NAMES = {"0.25": "quarter", "0.5": "half", "0.1": "tenth"}
DIGITS = {PSNR: 2, SSIM: 3, BIAS: 2, NOISE: 1}
HEADINGS = ("PSNR dB", "SSIM", "bias HU", "noise HU")
Found = Mapping[str, Any]


def said(found: Found, digits: int = 2, *, sign: bool = False) -> str:
    """mean [low, high]; the mean alone for one patient, a dash for none."""
    if not found or not found["patients"] or not math.isfinite(found["mean"]):
        return "–"
    style = f"{'+' if sign else ''}.{digits}f"
    text = format(found["mean"], style)
    if found["low"] is None:
        return f"{text} (n = 1)"
    return f"{text} [{found['low']:{style}}, {found['high']:{style}}]"


def _number(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def write_report(results: Found, figures: Mapping[str, str], folder: Path) -> None:
    """Write results.json and README.md, each whole or not at all; figures: {file in the folder: what it shows}."""
    with appearing_whole(folder / "results.json") as partial:
        partial.write_text(json.dumps(results, indent=1), encoding="utf-8")
    with appearing_whole(folder / "README.md") as partial:
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
        *_asked(results, models),
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


def _asked(results: Found, models: Sequence[str]) -> list[str]:
    """What was asked for and what was measured: at the default strength, but against a truth without noise at 1."""
    rows: list[list[str]] = []
    quarter, phantoms = results["patients"]["0.25"], results["phantoms"]
    for name in models:
        over_peers: list[list[str]] = []
        for who, what, found, wanted in (
            (name, "scans", quarter, 0.8),
            (results["whole"][name], "noise-free phantoms", phantoms, 2.0),
        ):
            if "with peers" in found:
                over_peers += _over_peers(who, what, found["with peers"], wanted)
        rows += over_peers if name == models[0] else [[what, "–", measured, "–"] for what, _, measured, _ in over_peers]
    if "with peers" in phantoms:
        peers = phantoms["with peers"]
        found = said(peers[f"size of low dose's {BIAS}"], sign=True)
        rows.append(
            [f"low dose itself: size of the bias less {peers[f'best {PSNR}']}'s, noise-free phantoms", "–", found, "–"]
        )
    for name in models[1:]:
        rows.append(_row(f"{name} − {models[0]}, scans", "≥ −0.15 dB", quarter["against the first"][name][PSNR], -0.15))
    for name in models:
        rows += _safety_rows(name, results["safety"][name])
    return [
        "## What was asked for",
        "",
        *table(["", "asked", "measured", "met"], rows),
        "",
        "A standard deviation of shifts is met where the lower end of its 95 % interval is; everything else where the",
        "measured value itself is. More than the filters is asked of the first model, of the others to be close to it.",
    ]


def _over_peers(who: str, what: str, found: Found, wanted: float) -> list[list[str]]:
    """A model beside the best of the peers: PSNR by so much, SSIM and bias at all."""
    gain, best, alike = found["gain"][who], found[f"best {PSNR}"], found[f"best {SSIM}"]
    bias, added = gain[f"size of {BIAS}"], gain[f"size of added {BIAS}"]
    return [
        _row(f"{who}: PSNR over {best} against {what}", f"≥ {wanted} dB", gain[PSNR], wanted),
        _row(f"{who}: SSIM over {alike}, {what}", "> 0", gain[SSIM], 0.0, digits=3),
        [f"{who}: size of the bias less {best}'s, {what}", "< 0 HU", said(bias, sign=True), _met(bias["mean"] < 0)],
        [f"{who}: the same of what each adds to the low dose's own, {what}", "–", said(added, sign=True), "–"],
    ]


def _row(what: str, asked: str, found: Found, least: float, *, digits: int = 2) -> list[str]:
    return [what, asked, said(found, digits, sign=True), _met(found["mean"] >= least)]


def _met(yes: bool) -> str:
    return "yes" if yes else "**no**"


def _least(found: Found) -> float:
    """Lower end of the standard deviation's own 95 % interval."""
    return found["sd"] * (1 - 1.96 / math.sqrt(2 * (found["count"] - 1)))


def _spread_row(what: str, tissue: str, found: Found) -> list[str]:
    """The spread of the shifts against what the removed noise predicts; where it predicts nothing, the own noise's."""
    against = found["predicted"]
    if against:
        ratio = against["ratio"]
        least = ratio["mean"] if ratio["low"] is None else ratio["low"]
        return [
            f"{what} ÷ the removed noise's, {tissue}",
            "≤ 1",
            f"{said(ratio)} ({against['count']} discs)",
            _met(least <= 1),
        ]
    limit, least = found["noise_sd"], _least(found)
    return [
        f"{what}, {tissue}",
        f"≤ {limit:.2f} HU (own noise's)",
        f"{found['sd']:.2f} HU, 95 % interval from {least:.2f}",
        _met(least <= limit),
    ]


def _safety_rows(name: str, safety: Found) -> list[list[str]]:
    rows = []
    for tissue, found in safety["discs"].items():
        limit = 0.5 if tissue == "soft tissue" else 2.0
        text = f"{found['mean']:+.2f} HU ({found['count']} discs)"
        rows.append(
            [f"{name}: mean shift, {tissue}, full dose", f"< {limit:g} HU", text, _met(abs(found["mean"]) < limit)]
        )
        rows.append(_spread_row(f"{name}: SD of the shift", tissue, found))
    for tissue, found in safety["truth_discs"].items():
        text = f"{found['largest']:.2f} HU (standard error {found['error']:.2f}, {found['count']} discs)"
        rows.append([f"{name}: largest shift of a disc, phantom, {tissue}", "< 1 HU", text, _met(found["largest"] < 1)])
    for contrast in ("100", "1000"):
        ratios = safety["edges"].get(contrast, {})
        text = ", ".join(f"{kind} {_number(ratio, 3)}" for kind, ratio in ratios.items())
        kept = all(ratio >= 0.95 for ratio in ratios.values())  # no ratio (NaN) is not met
        rows.append([f"{name}: TTF f50 at {contrast} HU, output ÷ input", "≥ 0.95", text, _met(kept)])
    return rows


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
        for model, gain in found["gain"].items():
            by_kernel = ", ".join(f"{kind} {said(each, sign=True)}" for kind, each in gain["by kernel"].items())
            blended = "".join(
                f" Over {other}: {said(each, sign=True)}." for other, each in gain["over blended"].items()
            )
            lines += [
                f"{model} over {found[f'best {PSNR}']}: {said(gain[PSNR], sign=True)} dB.{blended}",
                f"By kernel: {by_kernel}.",
                "",
            ]
    lines += [
        "Settings, chosen for PSNR at quarter dose on other patients, by class of kernel (scale: of the measured",
        "noise; strength: share of the change that is applied, tuned where it says blended, since a truth with noise",
        "rewards noise that is left):",
        "",
        *_settings(results["tuned"]["patients"]),
        "",
        f"Limit: peers get the middle {MIDDLE}² pixels alone, whose edge lacks surroundings; models get whole slices.",
        "",
    ]
    return lines


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
        "Quarter dose; the patients are torsos of unseen seeds.",
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
            ["model", "tissue", "discs", "mean shift", "SD of shift", "SD / predicted (discs)", "own noise's SD"], rows
        ),
        "",
    ]
    for name, found in safety.items():
        lines.append(f"{name}: change of the whole image ÷ the scan's own noise {said(found['change_of_noise'])}.")
    rows = [
        [name, contrast, *(_number(ratios.get(kind, math.nan), 3) for kind in SHARPNESS)]
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
                        pairs = [f"{_number(a[key])} → {_number(b[key])}" for key in ("mean_per_mm", "peak_per_mm")]
                        rows.append(
                            [
                                name,
                                where,
                                kind,
                                dose,
                                f"{a['sigma_hu']:.1f} → {b['sigma_hu']:.1f}",
                                *pairs,
                                _number(r["mean_per_mm"]),
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
                *(_number(row[key], 3) for key in ("edge_100", "edge_1000")),
            ]
            for row in found["curve"]
        ]
        lines += [f"{name}: **{found['default']:g}**", "", *table(headings, rows), ""]
    return lines
