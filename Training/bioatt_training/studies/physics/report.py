"""results.json and README.md of the physics study. README.md is written from results.json alone:

python -m bioatt_training.studies.physics.report Training/results/physics
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bioatt_training.reporting import (
    DASH,
    format_interval,
    markdown_figures,
    markdown_table,
    write_json,
    write_markdown,
)
from bioatt_training.studies.physics.detection import INPUT, OBSERVERS
from bioatt_training.studies.physics.results import FIRST
from bioatt_training.studies.physics.tasks import TRUTH

Found = Mapping[str, Any]
DIGITS = 3
LOWEST_AT_FULL_DOSE = 0.97
"""The d′ ratio that no contrast should fall below at full dose."""
MACHINES = {"emphysema": 2, "liver": 1, "calcium": 0}


def write_report(results: Found, figures: Mapping[str, str], folder: Path) -> None:
    """Write results.json and README.md, each whole or not at all; figures: captions by file name."""
    write_json(folder / "results.json", {**results, "figures": figures}, DIGITS)
    write_readme(folder)


def write_readme(folder: Path) -> None:
    """Write README.md from the folder's results.json."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    write_markdown(folder / "README.md", readme(results))


def readme(results: Found) -> list[str]:
    """The lines of README.md."""
    model = results["model"]
    return [
        "# Physics of a model",
        "",
        f"Made by `bioatt-train physics`, {results['size']} mode (all values in [results.json](results.json)).",
        f"Research use only, not for diagnosis. Model {model['name']}, SHA-256 `{model['sha256'][:16]}`, strength",
        f"{model['strength']:g}. Simulated scans of phantoms, slices of 5 mm; brackets are 95 % intervals",
        "(detectability: jackknife over 16 groups of scans). d′: channelised Hotelling observer without internal",
        "noise, corrected for the number of scans. Such an observer undoes the correlation of the noise: no linear",
        "filter of one slice raises its d′, and a ratio of 1 means that nothing is lost. Readers do not undo it, so",
        "that they may gain where the ratio is 1.",
        "",
        "## Summary",
        "",
        *summary(results),
        "",
        *(
            line
            for title, (needs, section) in SECTIONS.items()
            if results.get(needs)
            for line in _section(title, section(results))
        ),
        "## Figures",
        "",
        *markdown_figures(results["figures"]),
    ]


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"## {title}", "", *lines]


def summary(results: Found) -> list[str]:
    """Verdicts in one list, good and bad alike."""
    name, lines = results["model"]["name"], []
    for kernel, found in results["low"].items():
        for dose, one in found.items():
            if name in one:
                inserts = one[name]["inserts"].values()
                above, below = (sum(_beyond(row["ratio"][FIRST], side) for row in inserts) for side in (1, -1))
                lines.append(
                    f"- Low contrast, {kernel}, dose {dose}: mean d′ ratio {_ci(one[name]['mean ratio'][FIRST], 3)}; "
                    f"of {len(inserts)} inserts {above} are above 1 and {below} below it beyond their interval."
                )
    for kernel, found in results["high"].items():
        for dose in ("1", "0.25"):
            row = found[dose][name]["inserts"]
            worst = min(row, key=lambda insert: row[insert]["ratio"][FIRST][0])
            value = row[worst]["ratio"][FIRST]
            lines.append(
                f"- Higher contrast, {kernel}, dose {dose}: lowest d′ ratio {_ci(value, 3)} ({worst})"
                + (f"; the aim of {LOWEST_AT_FULL_DOSE:g} is {_verdict(value)}." if dose == "1" else ".")
            )
    lines.append(f"- {low_contrast(results)}")
    missing = [title for title, (needs, _) in SECTIONS.items() if not results.get(needs)]
    if missing:
        lines.append(f"- Not measured in this run: {'; '.join(missing)}.")
    return lines


def low_contrast(results: Found) -> str:
    """The low-contrast paragraph of the model card."""
    name = results["model"]["name"]
    kernel = next(iter(results["low"]))
    one = results["low"][kernel]["0.25"]
    parts = []
    for insert in ("10 HU 5 mm", "10 HU 10 mm"):
        before, row = one[INPUT]["inserts"][insert], one[name]["inserts"][insert]
        parts.append(
            f"inserts of {insert.replace(' HU ', ' HU and ')} have a d′ of {_ci(before['d'])} before and "
            f"{_ci(row['d'])} after (ratio {_ci(row['ratio'][FIRST], 3)}); they show {100 * row['contrast']:.0f} % of "
            f"their contrast after, and {_percent(before['erased'])} of them have lost half of it before, "
            f"{_percent(row['erased'])} after"
        )
    return f"At quarter dose (water of 20 cm, kernel {kernel}, simulated), {'; '.join(parts)}."


def _verdict(value: list[float]) -> str:
    if value[1] >= LOWEST_AT_FULL_DOSE:
        return "met"
    return "not met" if value[2] < LOWEST_AT_FULL_DOSE else "neither met nor missed beyond doubt"


def _beyond(value: list[float], side: int) -> bool:
    return value[1] > 1 if side > 0 else value[2] < 1


def _ci(value: list[float | None] | None, digits: int = 2) -> str:
    return DASH if value is None else format_interval(value, digits)


def _percent(value: list[float | None]) -> str:
    return format_interval([None if one is None else 100 * one for one in value], 0, unit=" %")


def _low(results: Found) -> list[str]:
    lines = [
        "Water of 20 cm, inserts as in the phantom CCT189 and others. Dose saved: 1 − dose ÷ the dose at which the",
        "input has the output's d′ (Laguerre-Gauss; negative: more dose is needed).",
        "",
    ]
    for kernel, found in results["low"].items():
        lines += _table(found, results["model"]["name"], kernel)
    return [*lines, *_beside(results)]


def _table(found: Found, name: str, kernel: str) -> list[str]:
    lines = []
    for dose, one in found.items():
        if name not in one:
            continue
        saved = any("reduction" in row for row in one[name]["inserts"].values())
        rows = [
            [
                insert,
                _ci(one[INPUT]["inserts"][insert]["d"]),
                _ci(row["d"]),
                *(_ci(row["ratio"][observer]) for observer in OBSERVERS),
                *([_percent(row["reduction"])] if saved else []),
            ]
            for insert, row in one[name]["inserts"].items()
        ]
        ratios = one[name]["mean ratio"]
        rows.append(["geometric mean", "", "", *(_ci(ratios[observer]) for observer in OBSERVERS), *[""] * saved])
        lines += [
            f"Kernel {kernel}, dose {dose}; noise {one[INPUT]['noise']:.1f} → {one[name]['noise']:.1f} HU:",
            "",
            *markdown_table(
                ["insert", "d′ in", "d′ out", *(f"ratio, {o}" for o in OBSERVERS), *["dose saved"] * saved], rows
            ),
            "",
        ]
    return lines


def _beside(results: Found) -> list[str]:
    """Plain averaging, and BM3D where it was run, beside the model."""
    rows = [
        [kernel, dose, each, f"{row['noise']:.1f}", *(_ci(row["mean ratio"][observer]) for observer in OBSERVERS)]
        for kernel, found in results["low"].items()
        for dose, one in found.items()
        for each, row in one.items()
        if each != INPUT
    ]
    return [
        "Beside plain means of three slices. The inserts are rods along z: averaging costs them nothing, so that its",
        "ratio, about √3, is the most that neighbouring slices can give, and more than they give for lesions.",
        *([f"BM3D was given {results['slow_scans']} of the scans."] if any(row[2] == "BM3D" for row in rows) else []),
        "",
        *markdown_table(["kernel", "dose", "", "noise HU", *(f"mean ratio, {o}" for o in OBSERVERS)], rows),
        "",
    ]


def _high(results: Found) -> list[str]:
    name = results["model"]["name"]
    rows = [
        [kernel, insert, *(_ci(found[dose][name]["inserts"][insert]["ratio"][FIRST], 3) for dose in ("1", "0.25"))]
        for kernel, found in results["high"].items()
        for insert in found["1"][name]["inserts"]
    ]
    return [
        f"Water of 20 cm: ratio of d′ ({FIRST}), output ÷ input; the aim is {LOWEST_AT_FULL_DOSE:g} at full dose.",
        "",
        *markdown_table(["kernel", "insert", "full dose", "quarter dose"], rows),
        "",
    ]


def _sizes(results: Found) -> list[str]:
    name = results["model"]["name"]
    rows = [
        [
            each,
            f"{found['diameter_mm'] / 10:.0f} cm, {found['pixel_mm']:.2f} mm",
            f"{found[INPUT]['noise']:.1f} → {found[name]['noise']:.1f}",
            *(_ci(found[name]["inserts"][insert]["ratio"][FIRST]) for insert in found[name]["inserts"]),
            _ci(found[name]["mean ratio"][FIRST], 3),
        ]
        for each, found in results["sizes"].items()
    ]
    inserts = next(iter(results["sizes"].values()))[name]["inserts"]
    return [
        "Water, kernel B30, quarter dose, exposure control within the tube's limits. Training held adults only.",
        "",
        *markdown_table(["", "diameter, pixel", "noise HU", *(f"ratio, {i}" for i in inserts), "mean"], rows),
        "",
    ]


def _audit(results: Found) -> list[str]:
    name, rows = results["model"]["name"], []
    for kernel, found in results["low"].items():
        one = found["0.25"]
        for insert, row in one[name]["inserts"].items():
            before = one[INPUT]["inserts"][insert]
            rows.append(
                [
                    kernel,
                    insert,
                    *(_percent(before[what]) + " → " + _percent(row[what]) for what in ("erased", "invented")),
                    _ci(row["fabricated"]),
                    f"{row['contrast']:.2f}",
                ]
            )
    return [
        "Quarter dose, input → output. Erased: inserts that show less than half of their contrast. Invented: places",
        "without an insert that look as if they had at least half of one. Fabricated: mean shift of the observer's",
        "decision where there is nothing, in its standard deviations (0: none). Contrast: mean of what is shown.",
        "",
        *markdown_table(["kernel", "insert", "erased", "invented", "fabricated", "contrast"], rows),
        "",
    ]


def _agreement(results: Found) -> list[str]:
    rows = [
        [dose, each, _ci(row["lost_input"], 3), _ci(row["lost"], 3), _percent(row["worse"]), _percent(row["better"])]
        for dose, found in results["agreement"].items()
        for each, row in found.items()
    ]
    return [
        "Patches of a torso: frequency in 1/mm up to which their Fourier ring correlation with the truth is above 0.5.",
        "Worse: patches that agree up to a lower frequency than the input's: what they show there is wrong and was not",
        "in the input.",
        "",
        *markdown_table(["dose", "", "input", "output", "worse", "better"], rows),
        "",
    ]


def _noticed(results: Found) -> list[str]:
    return [
        "Inserts that were erased on purpose, against honest outputs of the same noise, quarter dose: area under the",
        "ROC curve of the structure check's score at the insert (0.5: it cannot tell).",
        "",
        *markdown_table(["insert", "area"], [[insert, _ci(area)] for insert, area in results["noticed"].items()]),
        "",
    ]


def _tasks(results: Found) -> list[str]:
    found = results["tasks"]
    rows = [
        [
            scan,
            _ci(one.get("dice mean"), 3),
            DASH if scan == TRUTH else f"{100 * one['volume off']:.1f} %",
            *(_ci(one[what], digits) for what, digits in MACHINES.items()),
        ]
        for scan, one in found.items()
    ]
    return [
        "Unenhanced torsos with emphysema and with calcium in the heart, kernel B30. Dice and volumes of organs that",
        "the built-in maps find, against those of the noise-free scan. Emphysema: lung below −950 HU, per cent; liver:",
        "HU; calcium: Agatston score, scaled to slices of 3 mm; of noisy scans, their difference from the noise-free.",
        "",
        *markdown_table(["scan", "Dice", "volume off by", "emphysema %", "liver HU", "calcium"], rows),
        "",
    ]


SECTIONS: dict[str, tuple[str, Callable[[Found], list[str]]]] = {
    "Low contrast": ("low", _low),
    "Higher contrast": ("high", _high),
    "In the liver of a torso": ("liver", lambda results: _table(results["liver"], results["model"]["name"], "B30")),
    "Children and large patients": ("sizes", _sizes),
    "Hallucination: erased and invented inserts": ("low", _audit),
    "Hallucination: agreement with the truth": ("agreement", _agreement),
    "Hallucination: what the structure check notices": ("noticed", _noticed),
    "Readings of machines": ("tasks", _tasks),
}
"""Sections of the page by title: what they need of the results, and what makes them."""

if __name__ == "__main__":
    write_readme(Path(sys.argv[1]))
