"""All measurements of a benchmark as plain data: the content of results.json."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bioatt_training.studies.benchmark.baselines import BLENDED, FILTERS, Baseline
from bioatt_training.studies.benchmark.denoisers import WHOLE, Denoiser, Identity, Model
from bioatt_training.studies.benchmark.runner import DOSES, QUARTER, TUNING_SEEDS, Runner
from bioatt_training.studies.benchmark.tables import (
    BIAS,
    NOISE,
    PSNR,
    SSIM,
    Row,
    difference,
    discs,
    edge_ratios,
    strengths,
    summary,
    truth_discs,
    where,
)
from bioatt_training.studies.benchmark.truth import REGIONS, SHARPNESS, Case
from bioatt_training.studies.benchmark.tuning import tuned, tuning_cases

METRICS = (PSNR, SSIM, BIAS, NOISE)
Tuned = Mapping[str, Mapping[str, Baseline]]
log = logging.getLogger(__name__)


def measured(runner: Runner, models: Sequence[Model], whole: Sequence[Model], *, baselines: bool) -> dict[str, Any]:
    """All measurements of `models` (the first is the reference) and, optionally, of the tuned baselines.

    whole: the same models at strength 1.
    """
    everyone = [*models, *(model for model in whole if model.name not in {one.name for one in models})]
    plain = {one.name: model.name for model, one in zip(models, whole, strict=True)}
    denoisers: list[Denoiser] = [Identity(), *everyone]
    results: dict[str, Any] = {
        "pixels": runner.size.pixels,
        "models": {model.name: {"sha256": model.sha256, "strength": model.strength} for model in models},
        "whole": {model.name: one.name for model, one in zip(models, whole, strict=True)},
        "tuned": {},
    }
    tuning: dict[str, Tuned] = {"patients": {}, "phantoms": {}}
    for truth in tuning:
        if baselines:
            log.info("tuning the baselines for %s", truth)
            tuning[truth] = tuned(_tuning_cases(runner, truth), runner.store, runner.size.baselines or tuple(FILTERS))
            results["tuned"][truth] = _settings(tuning[truth])
        log.info("%s", truth)
        if truth == "patients":
            results[truth] = {f"{dose:g}": _patients(runner, denoisers, tuning[truth], dose) for dose in DOSES}
        else:
            results[truth] = _phantoms(runner, denoisers, tuning[truth])
    results["safety"], results["texture"], results["strengths"], results["seconds"] = {}, {}, {}, {}
    for model in everyone:
        log.info("safety and texture of %s", model.name)
        rows = runner.safety_on_patients(model)
        repeated, inserts = runner.repeated(model), runner.inserts(model)
        results["safety"][model.name] = _safety(rows, runner.discs(model), inserts)
        results["texture"][model.name] = {"anatomy": _textures(repeated), "water": _textures(inserts)}
        if model.strength == WHOLE:
            results["strengths"][plain[model.name]] = strengths(repeated, inserts)
    timed: dict[str, Denoiser] = {model.name: model for model in models}
    timed |= {
        baseline.name: baseline
        for baseline in next(iter(tuning["patients"].values()), {}).values()
        if baseline.strength == 1
    }
    results["seconds"] = {name: runner.seconds(one) for name, one in timed.items()}
    return results


def _safety(rows: list[dict[str, Any]], phantom: Mapping[str, Any], inserts: Mapping[str, Any]) -> dict[str, Any]:
    """Changes of full-dose scans: discs in patients (rows) and in a phantom, edges of inserts."""
    return {
        "discs": discs(rows),
        "truth_discs": truth_discs(phantom),
        "edges": edge_ratios(inserts),
        "change_of_noise": summary([{**row, "ratio": row["change_hu"] / row["noise_hu"]} for row in rows], "ratio"),
        "slices": len(rows),
    }


def _textures(by_kind: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The textures among the measurements of each kernel class, by dose."""
    start = "texture "
    return {
        kind: {name.removeprefix(start): found for name, found in one.items() if name.startswith(start)}
        for kind, one in by_kind.items()
    }


def _tuning_cases(runner: Runner, truth: str) -> list[Case]:
    """Slices for tuning the baselines, from other patients or another phantom."""
    if truth == "patients":
        return tuning_cases(runner.bank, runner.size.tuning_slices)
    return runner.phantoms(TUNING_SEEDS)


def _settings(tuning: Tuned) -> dict[str, Any]:
    return {
        kind: {name: {**dict(baseline.setting), "strength": baseline.strength} for name, baseline in found.items()}
        for kind, found in tuning.items()
    }


def _baseline_rows(runner: Runner, tuning: Tuned, dose: float, cases: Sequence[Case]) -> dict[str, list[Row]]:
    """Rows by baseline, each slice with the setting of its kernel class, or of another class if its own has none."""
    rows: dict[str, list[Row]] = {}
    for kind in SHARPNESS:
        mine = [case for case in cases if case.sharpness == kind]
        for name, baseline in tuning.get(kind, next(iter(tuning.values()), {})).items():
            log.info("%s, dose %g, %s kernels: %d slices", name, dose, kind, len(mine))
            rows.setdefault(name, []).extend(runner.quality_in_the_middle(baseline, dose, mine))
    return rows


def _patients(runner: Runner, denoisers: Sequence[Denoiser], tuning: Tuned, dose: float) -> dict[str, Any]:
    """Comparison with the scans: all slices, by kernel, by region; and on the baselines' slices with the baselines."""
    cases = runner.cases(runner.size.slices[dose])
    rows: dict[str, list[Row]] = {}
    for one in denoisers:
        log.info("%s, dose %g: %d slices", one.name, dose, len(cases))
        rows[one.name] = list(runner.quality(one, dose, cases))
    left_out = {name: where(each, seen=False) for name, each in rows.items()}
    found: dict[str, Any] = {
        "all": _table(left_out),
        "limits": _limits(left_out[Identity.name]),
        "by kernel": {kind: _table(_only(left_out, sharpness=kind)) for kind in SHARPNESS},
        "by region": {region: _table(_only(left_out, region=region)) for region in REGIONS},
        "seen in training": _table({name: where(each, seen=True) for name, each in rows.items()}),
        "against the first": _against(left_out, [one.name for one in denoisers[1:]]),
    }
    if dose == QUARTER:
        found["removed noise"] = {
            one.name: {kind: _removed(_only(left_out, sharpness=kind)[one.name]) for kind in SHARPNESS}
            for one in denoisers[1:]
        }
    if tuning:
        few = [case for case in runner.cases(runner.size.baseline_slices[dose]) if not case.seen]
        found["with baselines"] = _compared(left_out, _baseline_rows(runner, tuning, dose, few), few)
    return found


def _phantoms(runner: Runner, denoisers: Sequence[Denoiser], tuning: Tuned) -> dict[str, Any]:
    cases = runner.phantoms(runner.size.seeds)
    rows = {one.name: list(runner.quality(one, QUARTER, cases)) for one in denoisers}
    found: dict[str, Any] = {
        "all": _table(rows),
        "by kernel": {kind: _table(_only(rows, sharpness=kind)) for kind in SHARPNESS},
        "by region": {region: _table(_only(rows, region=region)) for region in ("chest", "abdomen")},
        "against the first": _against(rows, [one.name for one in denoisers[1:]]),
    }
    if tuning:
        found["with baselines"] = _compared(rows, _baseline_rows(runner, tuning, QUARTER, cases), cases)
    return found


def _only(rows: Mapping[str, Sequence[Row]], **wanted: Any) -> dict[str, list[Row]]:
    return {name: where(each, **wanted) for name, each in rows.items()}


def _table(rows: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """An interval by denoiser and metric; empty without rows."""
    return {name: {metric: summary(each, metric) for metric in METRICS} for name, each in rows.items() if each}


def _limits(rows: Sequence[Row]) -> dict[str, Any]:
    return {name: summary(rows, name) for name in ("noise_free_db", "oracle_db")}


def _against(rows: Mapping[str, Sequence[Row]], names: Sequence[str]) -> dict[str, Any]:
    """Each later model minus the first, on the same slices."""
    return {
        name: {metric: difference(rows[name], rows[names[0]], metric) for metric in (PSNR, SSIM)} for name in names[1:]
    }


def _compared(
    rows: Mapping[str, Sequence[Row]], baselines: Mapping[str, Sequence[Row]], few: Sequence[Case]
) -> dict[str, Any]:
    """Baselines and models on the central part of the baselines' slices, and each model's gain over the best baseline.

    The best baseline is chosen from all, including blended ones. The gain by kernel, the biases and "over unblended"
    are relative to the best one that is not blended. Added bias excludes the bias of the low dose itself, which is
    caused by photon starvation and unknown to image-domain methods.
    """
    keys = {case.key for case in few}
    same = {name: [{**row, **row["middle"]} for row in each if row["case"] in keys] for name, each in rows.items()}
    table = _table({**same, **baselines})
    unblended = [name for name in baselines if not name.endswith(BLENDED)]

    def best_of(names: Iterable[str], metric: str) -> str:
        return max(names, key=lambda name: table[name][metric]["mean"])

    best, plain, alike = best_of(baselines, PSNR), best_of(unblended, PSNR), best_of(baselines, SSIM)
    found: dict[str, Any] = {"table": table, "slices": len(keys), "gain": {}}
    found |= {f"best {PSNR}": best, f"best {SSIM}": alike, "best unblended": plain}
    own = {row["case"]: row[BIAS] for row in same[Identity.name]}
    found[f"size of low dose's {BIAS}"] = difference(same[Identity.name], baselines[plain], BIAS, abs)
    for name, each in same.items():
        if name != Identity.name:
            found["gain"][name] = {
                PSNR: difference(each, baselines[best], PSNR),
                SSIM: difference(each, baselines[alike], SSIM),
                "over unblended": difference(each, baselines[plain], PSNR),
                f"size of {BIAS}": difference(each, baselines[plain], BIAS, abs),
                f"size of added {BIAS}": difference(_beyond(own, each), _beyond(own, baselines[plain]), BIAS, abs),
                "by kernel": {
                    kind: difference(where(each, sharpness=kind), where(baselines[plain], sharpness=kind), PSNR)
                    for kind in SHARPNESS
                },
            }
    return found


def _beyond(own: Mapping[str, float], rows: Sequence[Row]) -> list[Row]:
    """Rows with the bias relative to that of the low dose, by case."""
    return [{**row, BIAS: row[BIAS] - own[row["case"]]} for row in rows]


def _removed(rows: Sequence[Row]) -> dict[str, Any]:
    """Removed ÷ inserted noise: mean and peak frequency and σ, over patients."""
    known = [row for row in rows if "removed" in row]
    ratios = [
        {
            "patient": row["patient"],
            **{
                name: row["removed"][name] / row["inserted"][name]
                for name in ("mean_per_mm", "peak_per_mm", "sigma_hu")
            },
        }
        for row in known
    ]
    return {name: summary(ratios, name) for name in ("mean_per_mm", "peak_per_mm", "sigma_hu")} if ratios else {}
