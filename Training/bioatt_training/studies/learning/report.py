"""README.md of the comparison, from its results.json alone:

python -m bioatt_training.studies.learning.report Training/results/learning
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any

from bioatt_training.evaluation.statistics import excludes_zero
from bioatt_training.reporting import format_interval, format_number, markdown_table, write_json, write_markdown

Found = Mapping[str, Any]
FIGURES = {
    "soft tissue/psnr_db": ("PSNR, dB", 2, 1),
    "soft tissue/ssim": ("SSIM", 3, 1),
    "full/rmse_hu": ("RMSE, HU", 1, -1),
    "features/distance": ("feature distance", 4, -1),
    "organs/dice": ("Dice of organs", 3, 1),
    "structure/ratio": ("structure error", 2, -1),
    "noise/output_over_target": ("noise over full dose", 2, 0),
    "bias_hu/lung": ("bias lung, HU", 1, 0),
    "bias_hu/fat": ("bias fat, HU", 1, 0),
    "bias_hu/soft tissue": ("bias soft tissue, HU", 1, 0),
    "bias_hu/bone": ("bias bone, HU", 1, 0),
}
"""Heading, decimals, and whether more is better (1), worse (−1), or neither."""
TRIAL = """
Every learner trains the same network (`gated_unet`, {filters} filters, no prior) with the same optimiser for {steps}
steps of {batch} patches of {patch}² pixels at a quarter of the dose, on {patients} patients. **This is a small trial**:
one seed, and a fraction of the steps that a shipped model gets; adversarial training in particular is far from its end.
The differences tell what each part does to a training of this size, not what it could do at its best. Intervals are
over patients: another seed of the same training may differ by more.
"""
JUDGED = """
Judged on {slices} whole slices of {patients} patients that no training saw, with simulated quarter-dose noise, against
their full-dose scans; means over patients with 95 % bootstrap intervals over patients. PSNR and SSIM: window
[-160, 240] HU. Feature distance: between the pretrained features of output and full dose (LPIPS without its linear
weights). Dice: the built-in organ maps on output and on full dose. Structure error: error of means over squares of 9
pixels, over that of the input: what was removed or invented.
"""
QUALITY = {key: said for key, said in FIGURES.items() if said[2]}
SHIFTS = {key: said for key, said in FIGURES.items() if not said[2]}


def write_report(results: Found, folder: Path) -> None:
    """Write results.json and README.md, each whole or not at all."""
    write_json(folder / "results.json", results, digits=5)
    write_markdown(folder / "README.md", readme(results))


def readme(results: Found) -> list[str]:
    """The lines of README.md."""
    return [
        "# Ways to learn, compared",
        "",
        "Made by `bioatt-train learning` (all values in [results.json](results.json)). Research use only.",
        "",
        *_paragraph(TRIAL, **results["size"], patients=results["data"]["train"]["patients"]),
        "",
        *_paragraph(JUDGED, slices=results["slices"], patients=results["data"]["test"]["patients"]),
        "",
        *(f"- {what} {said}" for what, said in zip(("Training", "Judging"), results["features"].values(), strict=True)),
        "",
        "## What helps and what harms",
        "",
        *_verdicts(results),
        "",
        "## Quality",
        "",
        *_table(results, QUALITY, "means", low=True),
        "",
        f"Each minus {_name(results, _first(results))}, paired by patient:",
        "",
        *_table(results, QUALITY, "differences", sign=True),
        "",
        "## HU and noise",
        "",
        "Bias: mean of output − full dose by tissue. A noise of 1 is the full dose's.",
        "",
        *_table(results, SHIFTS, "means"),
        "",
        "![A slice at full and quarter dose, and denoised by each](slices.png)",
        "",
        f"Middle of a slice of {results['picture']}, window [-160, 240] HU.",
        "",
    ]


def _paragraph(text: str, **values: Any) -> list[str]:
    return wrap(text.strip().format(**values), 120, break_on_hyphens=False)


def _verdicts(results: Found) -> list[str]:
    """One line for each learner: the figures whose interval against the first excludes 0."""
    lines = [*_range(results), f"Against {_name(results, _first(results))}, where the interval excludes 0:", ""]
    for name, figures in results["differences"].items():
        told: dict[str, list[str]] = {"better": [], "worse": []}
        for key, (heading, _, sense) in QUALITY.items():
            bounds = figures.get(key, [None])
            if None not in bounds and excludes_zero(bounds):
                told["better" if bounds[0] * sense > 0 else "worse"].append(heading.split(",")[0])
        said = "; ".join(f"{word}: {', '.join(names)}" for word, names in told.items() if names)
        lines.append(f"- **{_name(results, name)}** ({results['learners'][name]['said']}): {said or 'no difference'}")
    if left := [_name(results, name) for name in results["learners"] if name not in results["means"]]:
        lines += ["", f"Not trained yet: {', '.join(left)}; the same command goes on there."]
    return lines


def _range(results: Found) -> list[str]:
    """The largest gain and loss of PSNR against the first."""
    key = "soft tissue/psnr_db"
    ordered = sorted((figures[key][0], name) for name, figures in results["differences"].items() if key in figures)
    if not ordered:
        return []
    ends = [
        f"{format_number(value, 2, sign=True)} dB ({_name(results, name)})" for value, name in (ordered[-1], ordered[0])
    ]
    return [f"In PSNR the others lie between {ends[0]} and {ends[1]} of {_name(results, _first(results))}.", ""]


def _table(results: Found, figures: Mapping[str, Any], key: str, *, low: bool = False, sign: bool = False) -> list[str]:
    rows = [[_name(results, name), *_cells(found, figures, sign)] for name, found in results[key].items()]
    if low:
        rows.insert(0, ["quarter dose", *_cells(results["low"], figures, sign)])
    return markdown_table(["", *(heading for heading, *_ in figures.values())], rows)


def _cells(found: Found, figures: Mapping[str, Any], sign: bool) -> list[str]:
    missing = (None, None, None)
    return [format_interval(found.get(key) or missing, said[1], sign=sign) for key, said in figures.items()]


def _first(results: Found) -> str:
    return next(iter(results["learners"]))


def _name(results: Found, name: str) -> str:
    return str(results["learners"][name]["name"])


if __name__ == "__main__":
    place = Path(sys.argv[1])
    write_markdown(place / "README.md", readme(json.loads((place / "results.json").read_text(encoding="utf-8"))))
