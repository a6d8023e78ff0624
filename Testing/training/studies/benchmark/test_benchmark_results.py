"""A model's gain is relative to the best baseline, and the stored results agree with their page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from bioatt_training.studies.benchmark.report import readme
from bioatt_training.studies.benchmark.results import _compared
from bioatt_training.studies.benchmark.tables import BIAS, NOISE, PSNR, SSIM
from bioatt_training.studies.benchmark.truth import Case

ROOT = Path(__file__).parents[4]
FOLDER = ROOT / "Training" / "results" / "benchmark"
RESULTS = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))


def verdict(found, least=-math.inf, most=math.inf) -> str:
    """Whether the 95 % interval lies within the bounds ("met"), outside ("missed"), or across one ("open")."""
    if found["low"] is None:
        return "no interval"
    if least <= found["low"] and found["high"] <= most:
        return "met"
    return "missed" if found["high"] < least or found["low"] > most else "open"


def requirements() -> Iterator[tuple[str, str]]:
    """Every requirement on the shipped models, with its verdict."""
    quarter, phantoms = RESULTS["patients"]["0.25"], RESULTS["phantoms"]["with baselines"]
    first, fast = RESULTS["models"]
    for where, gain, least in (
        ("scans", quarter["with baselines"]["gain"][first], 0.8),
        ("phantoms", phantoms["gain"][RESULTS["whole"][first]], 2.0),
    ):
        yield f"PSNR over the best filter >= {least} dB, {where}", verdict(gain[PSNR], least=least)
        yield f"SSIM over the best filter > 0, {where}", verdict(gain[SSIM], least=0.0)
        yield f"size of the bias below the best filter's, {where}", verdict(gain[f"size of {BIAS}"], most=0.0)
    yield f"{fast} - {first} >= -0.15 dB", verdict(quarter["against the first"][fast][PSNR], least=-0.15)
    for name in (first, fast):
        safety = RESULTS["safety"][name]
        for tissue, limit in (("soft tissue", 0.5), ("lung", 2.0), ("bone", 2.0)):
            within = abs(safety["discs"][tissue]["mean"]) <= limit  # stored without an interval
            yield f"{name}: mean shift of discs, {tissue}, <= {limit} HU", "met" if within else "missed"
        ratio = safety["discs"]["soft tissue"]["predicted"]["ratio"]
        yield f"{name}: SD of disc shifts <= that of the removed noise", verdict(ratio, most=1.0)
        for tissue, found in safety["truth_discs"].items():
            reach = 1.96 * found["error"]
            largest = {"low": found["largest"] - reach, "high": found["largest"] + reach}
            yield f"{name}: largest shift of a phantom's disc < 1 HU, {tissue}", verdict(largest, most=1.0)
        for contrast in ("100", "1000"):
            worst = min(safety["edges"][contrast].values())
            yield f"{name}: f50 at {contrast} HU >= 0.95", "met" if worst >= 0.95 else "missed"


NOT_MET = {
    "PSNR over the best filter >= 0.8 dB, scans": "missed",
    "PSNR over the best filter >= 2.0 dB, phantoms": "missed",
    "SSIM over the best filter > 0, phantoms": "open",
    "size of the bias below the best filter's, phantoms": "missed",
    "bioatt-fast - bioatt >= -0.15 dB": "missed",
    "bioatt: SD of disc shifts <= that of the removed noise": "open",
    "bioatt: largest shift of a phantom's disc < 1 HU, soft tissue": "missed",
    "bioatt: largest shift of a phantom's disc < 1 HU, bone": "missed",
    "bioatt: f50 at 100 HU >= 0.95": "missed",
    "bioatt-fast: SD of disc shifts <= that of the removed noise": "open",
    "bioatt-fast: largest shift of a phantom's disc < 1 HU, soft tissue": "missed",
}
"""Requirements that the stored results miss or leave open. All others must be met."""


def test_the_requirements_are_met_but_for_those_known_not_to_be():
    assert {name: found for name, found in requirements() if found != "met"} == NOT_MET


def test_the_readme_is_that_of_the_stored_results():
    text = "\n".join(readme(RESULTS)).rstrip() + "\n"
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == text
    assert all((FOLDER / name).is_file() for name in RESULTS["figures"])


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.81, 1.2, "met"), (0.64, 0.96, "open"), (0.25, 0.66, "missed"), (None, None, "no interval")],
)
def test_a_requirement_is_met_by_the_whole_interval(low, high, said):
    assert verdict({"mean": 0.9, "low": low, "high": high}, least=0.8) == said


def test_the_gain_is_over_the_best_baseline_blended_ones_too():
    cases = [Case(f"c{n}", f"p{n}", "chest", "soft", 0.8, 5.0, None, None) for n in range(3)]

    def rows(psnr_db, ssim):
        values = {PSNR: psnr_db, SSIM: ssim, BIAS: 0.0, NOISE: 1.0}
        return [
            {"case": case.key, "patient": case.patient, "sharpness": "soft", **values, "middle": values}
            for case in cases
        ]

    denoisers = {"low dose": rows(20, 0.5), "model": rows(30, 0.9)}
    baselines = {"BM3D": rows(28, 0.8), "BM3D, blended": rows(29.5, 0.7)}
    found = _compared(denoisers, baselines, cases)
    assert (found[f"best {PSNR}"], found["best unblended"], found[f"best {SSIM}"]) == ("BM3D, blended", "BM3D", "BM3D")
    gain = found["gain"]["model"]
    assert gain[PSNR]["mean"] == pytest.approx(0.5)
    assert gain["over unblended"]["mean"] == pytest.approx(2)
    assert gain[SSIM]["mean"] == pytest.approx(0.1)
