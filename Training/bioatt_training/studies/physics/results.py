"""Convert stored measurements to the values of the report, each [value, low, high] with its 95 % interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bioatt_training.evaluation.statistics import interval, jackknifed, proportion, roc_area
from bioatt_training.studies.physics.detection import INPUT, OBSERVERS
from bioatt_training.studies.physics.runner import Runner
from bioatt_training.studies.physics.tasks import TRUTH

Found = Mapping[str, Any]
FIRST = OBSERVERS[0]
"""The observer used in summaries."""


def measured(runner: Runner) -> Iterator[dict[str, Any]]:
    """Yields the results part by part; runs the missing measurements.

    {"model", "size", "scans", "slow_scans", "low", "high": {kernel: `doses`}, "liver": `doses`, "sizes", "agreement",
    "noticed", "tasks"}.
    """
    size, model = runner.size, runner.model.name
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    found: dict[str, Any] = {
        "model": {"name": model, "sha256": runner.model.sha256, "strength": runner.model.strength},
        "size": size.name,
        "scans": size.scans,
        "slow_scans": size.slow_scans,
        "low": low,
        "high": high,
    }
    low[size.kernels[0]] = doses(runner.low(size.kernels[0]), model)
    yield found
    for kernel in size.high_kernels:
        high[kernel] = doses(runner.high(kernel), model)
        yield found
    parts: dict[str, Callable[[], Any]] = {
        "tasks": lambda: tasks(runner.tasks()),
        "noticed": lambda: noticed(runner.noticed()),
        "agreement": lambda: agreement(runner.agreement()),
        "liver": lambda: doses(runner.liver(), model),
        "sizes": lambda: sizes(runner.sizes(), model),
    }
    for name, make in parts.items():
        found[name] = make()
        yield found
    for kernel in size.kernels[1:]:
        low[kernel] = doses(runner.low(kernel), model)
        yield found


def agreement(found: Found) -> dict[str, Any]:
    """{dose: {subject: means over slices of `audit.agreement`}}."""
    return {
        dose: {name: {what: interval(values) for what, values in one.items()} for name, one in by_subject.items()}
        for dose, by_subject in found.items()
    }


def noticed(found: Found) -> dict[str, Any]:
    """{insert: area under the ROC curve of the structure check's score}."""
    return {
        insert: roc_area(one["erased"], one["honest"])
        for by_insert in found.values()
        for insert, one in by_insert.items()
    }


def sizes(found: Found, model: str) -> dict[str, Any]:
    """{size: {"diameter_mm", "pixel_mm", subject: …}}, see `compared`."""
    return {
        name: {"diameter_mm": one["diameter_mm"], "pixel_mm": one["pixel_mm"], **compared(_subjects(one), model)}
        for name, one in found.items()
    }


def _subjects(found: Found) -> dict[str, Any]:
    return {name: one for name, one in found.items() if isinstance(one, Mapping)}


def doses(found: Found, model: str) -> dict[str, Any]:
    """{dose: `compared`}, with the model's dose reduction if the input was measured at three or more doses."""
    result = {dose: compared(one, model) for dose, one in found.items()}
    inputs = {float(dose): one[INPUT]["inserts"] for dose, one in found.items()}
    for dose, one in found.items():
        if model in one and len(inputs) > 2:
            for insert, row in one[model]["inserts"].items():
                curve = {at: inserts[insert]["d"][FIRST] for at, inserts in inputs.items()}
                saved = reduction(curve, row["d"][FIRST], float(dose))
                result[dose][model]["inserts"][insert]["reduction"] = saved
    return result


def compared(found: Found, model: str) -> dict[str, Any]:
    """{subject: {"noise", "mean ratio": {observer}, "inserts": {insert: {"d", "ratio": {observer}, "contrast",
    "fabricated", "erased", "invented"}}}} of one phantom, kernel and dose; d′ of FIRST; inserts only for the input and
    the model.
    """
    return {
        name: _subject(one, one.get("given", found[INPUT]), name, detailed=name in (INPUT, model))
        for name, one in found.items()
    }


def _subject(found: Found, given: Found, name: str, *, detailed: bool) -> dict[str, Any]:
    result: dict[str, Any] = {"noise": found["noise"]}
    if name != INPUT:
        logs = {
            observer: [log_ratio(one["d"][observer], given["inserts"][key]["d"][observer]) for key, one in _of(found)]
            for observer in next(iter(found["inserts"].values()))["d"]
        }
        result["mean ratio"] = {observer: _ratio(np.mean(one, 0)) for observer, one in logs.items()}
    if detailed:
        result["inserts"] = {key: _row(one, given["inserts"][key], name) for key, one in _of(found)}
    return result


def _row(one: Found, given: Found, name: str) -> dict[str, Any]:
    row: dict[str, Any] = {"d": jackknifed(one["d"][FIRST][0], one["d"][FIRST][1:])}
    if name != INPUT:
        row["ratio"] = {observer: _ratio(log_ratio(d, given["d"][observer])) for observer, d in one["d"].items()}
        row["fabricated"] = jackknifed(one["fabricated"][0], one["fabricated"][1:])
    return row | {"contrast": one["contrast"], **{what: proportion(*one[what]) for what in ("erased", "invented")}}


def _of(found: Found) -> list[tuple[str, Any]]:
    return [*found["inserts"].items()]


def log_ratio(d: ArrayLike, own: ArrayLike) -> NDArray[np.float64]:
    """Logarithm of d′ relative to the input's, elementwise; NaN if either is 0."""
    a, b = np.asarray(d, np.float64), np.asarray(own, np.float64)
    good = (a > 0) & (b > 0)
    return np.where(good, np.log(np.where(good, a, 1) / np.where(good, b, 1)), np.nan)


def _ratio(logs: ArrayLike) -> list[float]:
    values = np.asarray(logs, np.float64)
    return [float(one) for one in np.exp(jackknifed(values[0], values[1:]))]


def reduction(inputs: Mapping[float, Sequence[float]], output: Sequence[float], dose: float) -> list[float]:
    """[fraction, low, high] of the dose saved at equal d′: 1 − dose / (dose at which the input has the output's d′).

    The input's d′ is fitted as a power of the dose; each list has the value for all scans, then without each group.
    """
    at = np.log(np.array([*inputs]))
    curves = np.array([*inputs.values()], np.float64)  # (doses, 1 + groups)
    logs = []
    for d_in, d_out in zip(curves.T, np.asarray(output, np.float64), strict=True):
        if (d_in <= 0).any() or d_out <= 0:
            return [float("nan")] * 3
        slope, start = np.polyfit(at, np.log(d_in), 1)
        logs.append((np.log(d_out) - start) / slope - np.log(dose))
    value, low, high = jackknifed(logs[0], logs[1:])
    return [float(1 - np.exp(-one)) for one in (value, low, high)]


def tasks(rows: Sequence[Found]) -> dict[str, Any]:
    """{scan: {"dice": {organ}, "dice mean", "volume off", "emphysema", "liver", "calcium"}}, over torsos.

    The last three are values for the noise-free scan, and differences from it for the others.
    """
    found: dict[str, Any] = {}
    for scan in rows[0]:
        organs = sorted({organ for row in rows for organ in row[scan].get("dice", {})})
        one: dict[str, Any] = {
            what: interval(
                [
                    row[scan][what] - (0 if scan == TRUTH else row[TRUTH][what])
                    for row in rows
                    if row[TRUTH][what] is not None
                ]
            )
            for what in ("emphysema", "liver", "calcium")
        }
        if scan != TRUTH:
            one["dice"] = {organ: interval([row[scan]["dice"].get(organ, np.nan) for row in rows]) for organ in organs}
            one["dice mean"] = interval([np.mean([*row[scan]["dice"].values()]) for row in rows])
            sizes = [abs(share - 1) for row in rows for share in row[scan]["volume"].values()]
            one["volume off"] = float(np.median(sizes))
        found[scan] = one
    return found
