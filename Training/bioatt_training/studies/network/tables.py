"""Convert rows by case to tables: means with 95 % intervals over patients (over slabs, if a patient has several).

A table is {"title", "note", "columns": [heading], "digits": [decimals by column], "rows": [[cell]]}; a cell is a text,
a number, or [mean, low, high].
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bioatt_training.evaluation.statistics import interval
from bioatt_training.studies.benchmark.tables import by_patient
from bioatt_training.studies.benchmark.truth import LIMITS_PER_MM, SHARPNESS
from bioatt_training.studies.network import conditions, inserts, slices
from bioatt_training.studies.network.scans import STEP_CLASSES, step_class

Row = Mapping[str, Any]
Table = dict[str, Any]
NAMES = tuple(f"{strength:g}" for strength in slices.STRENGTHS)
DEFAULT = NAMES[1]
"""The default strength."""


def table(title: str, note: str, columns: Mapping[str, int], rows: Sequence[Sequence[Any]]) -> Table:
    """columns: heading → decimals; rows without any number are left out."""
    there = [list(row) for row in rows if any(known(cell) for cell in row)]
    return {"title": title, "note": note, "columns": list(columns), "digits": list(columns.values()), "rows": there}


def over_patients(rows: Sequence[Row], values: Sequence[float]) -> list[float | None]:
    """[mean, low, high] of the rows' values, mean by patient first."""
    pairs = [{"patient": row["patient"], "value": value} for row, value in zip(rows, values, strict=True)]
    return interval(list(by_patient(pairs, "value").values()))


def single_slices(rows: Sequence[Row]) -> list[Table]:
    """Section 1: quality at each strength, and gains by class."""
    models = by(rows, "model")
    quality = []
    for name, found in models.items():
        for strength in NAMES if name == next(iter(models)) else NAMES[1:]:
            label = "input" if strength == NAMES[0] else f"{name}, strength {strength}"
            columns = ("psnr_db", "ssim", "bias_hu soft tissue", "left_hu", "noise_hu")
            quality.append(
                [label, *(over_patients(found, [row[strength][column] for row in found]) for column in columns)]
            )
    n = f"n = {len({row['patient'] for row in rows})} patients, {len({row['case'] for row in rows})} slices."
    classes = []
    for label, part in _classes(rows):
        for name, found in by(part, "model").items():
            gains = [
                over_patients(found, [row[s]["psnr_db"] - row["0"]["psnr_db"] for row in found]) for s in NAMES[1:]
            ]
            classes.append(
                [label, _count(found), name, over_patients(found, [row["0"]["psnr_db"] for row in found]), *gains]
            )
    return [
        table(
            "Single slices, quarter dose",
            f"{n} PSNR and SSIM in the window [-160, 240] HU against the scan, whose own noise limits both. Remaining "
            "noise: of the added noise, from two realisations, in soft tissue. Local SD: its mode.",
            {
                "": 0,
                "PSNR, dB": 2,
                "SSIM": 3,
                "bias in soft tissue, HU": 2,
                "remaining noise, HU": 2,
                "local SD, HU": 1,
            },
            quality,
        ),
        table(
            "By kernel and slice thickness",
            "Gain in PSNR over the input. Kernel classes by the mean frequency of the noise: soft below "
            f"{LIMITS_PER_MM[0]:g}, sharp from {LIMITS_PER_MM[1]:g} /mm.",
            {"": 0, "n": 0, "model": 0, "input, dB": 2, f"gain at {DEFAULT}, dB": 2, "gain at 1, dB": 2},
            classes,
        ),
    ]


def doses(rows: Sequence[Row]) -> list[Table]:
    """Section 7: gain by dose."""
    lines = []
    for name, found in by(rows, "model").items():
        for dose in map("{:g}".format, slices.DOSES):
            gains = [
                over_patients(found, [row["doses"][dose][s] - row["doses"][dose]["0"] for row in found])
                for s in NAMES[1:]
            ]
            lines.append([name, dose, over_patients(found, [row["doses"][dose]["0"] for row in found]), *gains])
    columns = {"model": 0, "dose": 0, "input, dB": 2, f"gain at {DEFAULT}, dB": 2, "gain at 1, dB": 2}
    return [table("Dose", "Single slices, PSNR against the scan, with scaled quarter-dose noise.", columns, lines)]


def texture(rows: Sequence[Row]) -> list[Table]:
    """Section 6: mean frequency of the remaining noise and sharpness of an insert."""
    lines = []
    for label, part in (("all", rows), *_classes(rows)):
        for name, found in by(part, "model").items():
            cells = [
                over_patients(found, [row[s]["mean_per_mm"] / row["0"]["mean_per_mm"] for row in found])
                for s in NAMES[1:]
            ]
            for edge in ("f50 full dose", "f50"):
                cells += [over_patients(found, [row[s][edge] for row in found]) for s in NAMES[1:]]
            before = over_patients(found, [row["0"]["mean_per_mm"] for row in found])
            lines.append([label, _count(found), name, before, *cells])
    columns = {"": 0, "n": 0, "model": 0, "input, 1/mm": 3}
    for what in ("frequency ratio", "f50 ratio, full dose", "f50 ratio, quarter dose"):
        columns |= {f"{what}, at {DEFAULT}": 3, f"{what}, at 1": 3}
    note = (
        "Frequency: mean frequency of the remaining noise relative to the input's (two realisations, patches of 32 px "
        "in soft tissue). f50: of a 50 HU disc of 16 mm relative to the input's (difference of outputs with and "
        "without the disc)."
    )
    return [table("Texture and edges", note, columns, lines)]


def slabs(rows: Sequence[Row]) -> list[Table]:
    """Section 2, scans: remaining noise and PSNR with and without neighbours, and contrast of objects."""
    averages = [f"mean of {extent:g} mm" for extent in slices.AVERAGES_MM]
    noise, quality, objects = [], [], []
    for label in STEP_CLASSES:
        part = [row for row in rows if step_class(row["step_mm"]) == label]
        for name, found in by(part, "model").items():
            for region in ("soft tissue", "lungs", "liver"):
                there = [row for row in found if known(row["alone"]["noise"][region])]
                cells = [
                    interval([row.get(way, {}).get("noise", {}).get(region, math.nan) for row in there])
                    for way in ("input", "alone", "within", *averages)
                ]
                lower = interval(
                    [100 * (1 - row["within"]["noise"][region] / row["alone"]["noise"][region]) for row in there]
                )
                equal = interval([row["lower"][region] for row in there])
                noise.append([label, region, _count(there), name, *cells[:3], lower, equal, *cells[3:]])
            ways = ("alone", "within", *averages)
            gains = [interval([psnr_of(row, way) - psnr_of(row, "input") for row in found]) for way in ways]
            more = interval([psnr_of(row, "within") - psnr_of(row, "alone") for row in found])
            quality.append([label, _count(found), name, *gains[:2], more, *gains[2:]])
            objects += _objects(found, [label, _count(found), name], ways)
    return [
        table(
            "Neighbours: remaining noise",
            "Strength 1, slices within their slab and alone; intervals over slabs, n: slabs (patients). The added "
            "noise is independent between slices, unlike the scans' own, so means over slices show the upper limit of "
            "noise removal. At equal f50: the more blurred of the two at the strength that matches the other's f50, "
            "given below. Regions by the organ maps of the scan.",
            {"step": 0, "region": 0, "n": 0, "model": 0, "input, HU": 1, "alone, HU": 2, "within, HU": 2}
            | {"lower within, %": 1, "lower at equal f50, %": 1}
            | {f"{one} of the input, HU": 1 for one in averages},
            noise,
        ),
        table(
            "Neighbours: PSNR",
            "Gain over the input in dB, against the scan's own slice.",
            {"step": 0, "n": 0, "model": 0, "alone": 2, "within": 2, "within − alone": 2} | dict.fromkeys(averages, 2),
            quality,
        ),
        table("Neighbours: small objects in scans", _OBJECTS, _OBJECT_COLUMNS, objects),
    ]


def torsos(rows: Sequence[Row]) -> list[Table]:
    """Section 2, simulated torsos: gain from neighbours against the noise-free scan, and objects."""
    quality, objects = [], []
    for step, part in by(rows, "step_mm").items():
        for name, found in by(part, "model").items():
            gains = [
                over_patients(found, [psnr_of(row, way) - psnr_of(row, "input") for row in found])
                for way in ("alone", "within")
            ]
            more = over_patients(found, [psnr_of(row, "within") - psnr_of(row, "alone") for row in found])
            lower = interval([row["lower"]["soft tissue"] for row in found])
            quality.append([f"{step:g}", _count(found), name, *gains, more, lower])
            objects += _objects(found, [f"{step:g}", _count(found), name], ("alone", "within"))
    columns = {"step, mm": 0, "n": 0, "model": 0, "alone, dB": 2, "within, dB": 2, "within − alone, dB": 2}
    columns["lower at equal f50, %"] = 1
    return [
        table(
            "Neighbours: simulated torsos",
            "Gain in PSNR over the input, against the noise-free scan. Neighbours may lower noise or add detail, so "
            "the last column gives the noise reduction in soft tissue at equal f50, with the more blurred of the two "
            "at the strength that matches the other's f50.",
            columns,
            quality,
        ),
        table("Neighbours: small objects in torsos", _OBJECTS, _OBJECT_COLUMNS, objects),
    ]


_OBJECTS = (
    "Contrast kept, %, of a sphere of 3 mm and a vessel of 1 mm (100 HU, the vessel at 45° to the slices): difference "
    "of the outputs with and without them, same noise, strength 1, relative to that of the input. f50: of a 50 HU disc "
    "of 16 mm."
)
_OBJECT_COLUMNS = {"step": 0, "n": 0, "model": 0, "way": 0, "sphere, %": 1, "vessel, %": 1, "f50, %": 1}


def _objects(found: Sequence[Row], first: list[Any], ways: Sequence[str]) -> list[list[Any]]:
    return [
        [
            *first,
            way,
            *(
                interval([100 * row.get(way, {}).get("kept", {}).get(one, math.nan) for row in found])
                for one in (inserts.SPHERE, inserts.VESSEL, inserts.DISC)
            ),
        ]
        for way in ways
    ]


def priors(rows: Sequence[Row]) -> list[Table]:
    """Section 3: every prior compared with the best."""
    lines = []
    for name, found in by(rows, "model").items():
        best = {row["case"]: max(one["psnr_db"] for one in row["priors"].values()) for row in found}
        for prior in found[0]["priors"]:
            behind = [row["priors"][prior]["psnr_db"] - best[row["case"]] for row in found]
            far = [100 * row["priors"][prior]["far"] for row in found]
            alarms = [sum(row["priors"][prior]["alarms"][k] for row in found) for k in (0, 1)]
            lines.append(
                [
                    name,
                    prior,
                    over_patients(found, behind),
                    min(behind),
                    *(f"{count} of {len(found)}" for count in alarms),
                    max(far),
                    sum(far) / len(far),
                ]
            )
    columns = {"model": 0, "prior": 0, "PSNR − best, dB": 3, "worst, dB": 3}
    columns |= {f"structure alarms at {DEFAULT}": 0, "at 1": 0}
    return [
        table(
            "Priors",
            f"One slice per patient, n = {len({row['case'] for row in rows})}, quarter dose, strength 1. Best: best "
            "prior on the same slice. Far: voxels of the body that differ from the output under the uniform prior by "
            "more than 3 local SD of the input, on the worst slice and on average.",
            columns | {"far, worst, %": 4, "far, mean, %": 4},
            lines,
        )
    ]


def guidance(rows: Sequence[Row]) -> list[Table]:
    """Section 4: correct maps compared with no prior knowledge and with wrong maps, by organ."""
    lines = []
    right = conditions.RIGHT
    for name, found in by(rows, "model").items():
        for organ in sorted({organ for row in found for organ in row["organs"]}):
            there = [{**row, **row["organs"][organ]} for row in found if organ in row["organs"]]
            cells: list[Any] = []
            for other in (conditions.UNIFORM, conditions.STRANGER):
                cells += [
                    over_patients(there, [row[right]["psnr_db"] - row[other]["psnr_db"] for row in there]),
                    over_patients(there, [100 * (row[right]["sd_hu"] / row[other]["sd_hu"] - 1) for row in there]),
                    over_patients(there, [abs(row[right]["bias_hu"]) - abs(row[other]["bias_hu"]) for row in there]),
                ]
            lines.append([name, organ, _count(there), *cells])
    columns = {"model": 0, "organ": 0, "n": 0}
    for other in ("uniform", "stranger"):
        columns |= {f"PSNR − {other}, dB": 3, f"SD against {other}, %": 2, f"size of bias − {other}, HU": 2}
    return [
        table(
            "Guidance",
            "The slice's organ maps (maps:spatial) compared with the uniform prior and another slice's maps, where the "
            "maps have p > 0.5. SD: median local SD.",
            columns,
            lines,
        )
    ]


def attention(rows: Sequence[Row]) -> list[Table]:
    """Section 5: AUC of the maps A, and the effect of setting an organ's p to 0."""
    lines = []
    for name, found in by(rows, "model").items():
        every = [{**row, **one} for row in found for one in row["attention"].values()]
        organs = sorted({organ for row in found for organ in row["attention"]})
        parts = {organ: [{**r, **r["attention"][organ]} for r in found if organ in r["attention"]] for organ in organs}
        for organ, there in {"all": every, **parts}.items():
            cells = [
                over_patients(there, [row.get(key, math.nan) for row in there])
                for key in ("middle", "last", "inside", "outside")
            ]
            lines.append([name, organ, _count(there), *cells])
    columns = {"model": 0, "organ": 0, "n": 0, "AUC middle": 3, "AUC last": 3, "inside, HU": 2, "outside, HU": 2}
    return [
        table(
            "Attention",
            "AUC: whether Aₙ (not p·A) is higher where the organ maps have p > 0.5 than in the rest of the body. "
            "Inside and outside the organ: mean magnitude of the output's change when its p is set to 0 in "
            f"maps:spatial (the {conditions.MOST_ORGANS} largest organs of a slice).",
            columns,
            lines,
        )
    ]


def _classes(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    thick = {"up to 1.5 mm": (0, 1.5), "1.6 to 4 mm": (1.5, 4), "above 4 mm": (4, math.inf)}
    kernels = [(f"{kind} kernel", [row for row in rows if row["sharpness"] == kind]) for kind in SHARPNESS]
    return kernels + [
        (label, [row for row in rows if low < row["thickness_mm"] <= high]) for label, (low, high) in thick.items()
    ]


def psnr_of(row: Row, way: str) -> float:
    """PSNR of one of the variants of `slices.neighbours`, NaN if the slab lacks it."""
    return float(row[way]["psnr_db"]) if way in row else math.nan


def _count(rows: Sequence[Row]) -> str:
    """Cases (patients)."""
    return f"{len({row['case'] for row in rows})} ({len({row['patient'] for row in rows})})"


def by(rows: Sequence[Row], key: str) -> dict[Any, list[Row]]:
    """Group rows by one of their values."""
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault(row[key], []).append(row)
    return found


def known(cell: Any) -> bool:
    """Whether a cell contains a number."""
    if isinstance(cell, str):
        return False
    value = cell[0] if isinstance(cell, list) else cell
    return value is not None and math.isfinite(value)
