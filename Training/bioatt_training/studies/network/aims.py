"""Aims of the network compared with the measurements. Every aim is a minimum value; the interval decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from bioatt_training.evaluation.statistics import interval, verdict
from bioatt_training.reporting import DASH
from bioatt_training.studies.network import conditions, inserts
from bioatt_training.studies.network.scans import STEP_CLASSES, step_class
from bioatt_training.studies.network.tables import DEFAULT, Row, Table, by, known, over_patients, psnr_of, table

Interval = list[float | None]


class Aim(NamedTuple):
    """of: kind of rows that `measure` takes."""

    of: str
    text: str
    least: float
    measure: Callable[[Sequence[Row]], Interval]


def aims(rows: Mapping[str, Sequence[Row]]) -> Table:
    """The table of all aims; rows by kind, if measured."""
    lines: list[list[Any]] = []
    for aim in AIMS:
        for name, found in by(rows.get(aim.of, []), "model").items():
            value = aim.measure(found)
            lines.append([aim.text, name, f"{aim.least:g}", value, verdict(value, aim.least) if known(value) else DASH])
    return table("Aims", "", {"": 0, "model": 0, "at least": 0, "measured": 3, "met": 0}, lines)


def _frequency(rows: Sequence[Row]) -> Interval:
    return over_patients(rows, [row[DEFAULT]["mean_per_mm"] / row["0"]["mean_per_mm"] for row in rows])


def _edge(rows: Sequence[Row]) -> Interval:
    return over_patients(rows, [row[DEFAULT]["f50 full dose"] for row in rows])


def _lower_noise(step: str) -> Callable[[Sequence[Row]], Interval]:
    def measure(rows: Sequence[Row]) -> Interval:
        return interval([row["lower"]["soft tissue"] for row in rows if step_class(row["step_mm"]) == step])

    return measure


def _more_psnr(rows: Sequence[Row]) -> Interval:
    return interval([psnr_of(row, "within") - psnr_of(row, "alone") for row in rows])


def _thin(measure: Callable[[Sequence[Row]], Interval]) -> Callable[[Sequence[Row]], Interval]:
    return lambda rows: measure([row for row in rows if step_class(row["step_mm"]) == STEP_CLASSES[0]])


def _kept(name: str) -> Callable[[Sequence[Row]], Interval]:
    return lambda rows: interval([100 * row["within"]["kept"][name] / row["alone"]["kept"][name] for row in rows])


def _worst_prior(rows: Sequence[Row]) -> Interval:
    found = [[one["psnr_db"] for one in row["priors"].values()] for row in rows]
    return over_patients(rows, [min(each) - max(each) for each in found])


def _without_alarm(rows: Sequence[Row]) -> Interval:
    alarms = [[one["alarms"][0] for one in row["priors"].values()] for row in rows]
    return over_patients(rows, [100 * (1 - sum(each) / len(each)) for each in alarms])


def _near(rows: Sequence[Row]) -> Interval:
    return over_patients(rows, [100 * (1 - max(one["far"] for one in row["priors"].values())) for row in rows])


def _maps_over(other: str) -> Callable[[Sequence[Row]], Interval]:
    def measure(rows: Sequence[Row]) -> Interval:
        found = [(row["priors"][conditions.RIGHT]["psnr_db"], row["priors"][other]["psnr_db"]) for row in rows]
        return over_patients(rows, [right - against for right, against in found])

    return measure


AIMS = (
    Aim("single", f"Mean frequency of the remaining noise at {DEFAULT} over the input's", 0.9, _frequency),
    Aim("single", f"f50 of a 50 HU disc over the input's, full dose, at {DEFAULT}", 0.92, _edge),
    Aim(
        "slab",
        "Less remaining noise with neighbours at equal f50, soft tissue, steps up to 1.5 mm, %",
        20,
        _lower_noise(STEP_CLASSES[0]),
    ),
    Aim(
        "slab",
        "Less remaining noise with neighbours at equal f50, soft tissue, steps of 2 to 3 mm, %",
        10,
        _lower_noise(STEP_CLASSES[1]),
    ),
    Aim("slab", "PSNR with neighbours − alone, noisy scans, dB", 0, _more_psnr),
    Aim("torso", "PSNR with neighbours − alone, torsos, steps up to 1.5 mm, dB", 1, _thin(_more_psnr)),
    Aim(
        "torso",
        "Less remaining noise with neighbours at equal f50, torsos, steps up to 1.5 mm, %",
        20,
        _lower_noise(STEP_CLASSES[0]),
    ),
    Aim("slab", "Contrast of a sphere of 3 mm with neighbours over that alone, %", 97, _kept(inserts.SPHERE)),
    Aim("slab", "Contrast of a vessel of 1 mm with neighbours over that alone, %", 97, _kept(inserts.VESSEL)),
    Aim("priors", "PSNR of the worst prior − best, by slice, dB", -0.15, _worst_prior),
    Aim("priors", f"Slices without structure alarm at {DEFAULT}, all priors, %", 100, _without_alarm),
    Aim("priors", "Voxels within 3 local SD of the output under uniform, worst prior of a slice, %", 99.99, _near),
    Aim("priors", "PSNR with maps:spatial − none, dB", 0, _maps_over("none")),
    Aim("priors", "PSNR with maps:spatial − another slice's maps, dB", 0, _maps_over(conditions.STRANGER)),
)
