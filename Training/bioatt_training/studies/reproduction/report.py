"""The report of a reproduction: a Markdown file that says what the numbers say, its pictures, and the numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bioatt.io.files import atomic_write
from bioatt_training.data.bank import Bank
from bioatt_training.evaluation.table import bounds
from bioatt_training.studies.reproduction.attention_maps import shown_organs
from bioatt_training.studies.reproduction.figures import FIGURES, draw_attention, draw_comparisons
from bioatt_training.studies.reproduction.findings import claims, prior_sentence
from bioatt_training.studies.reproduction.plan import BATCH, LEARNING_RATE, Contents, Size
from bioatt_training.studies.reproduction.results import Results

PAPER = {
    "base": ("0.0404", "28.89", "0.7107"),
    "channel": ("0.0389", "29.33", "0.7137"),
    "spatial": ("0.0390", "29.31", "0.7135"),
    "whole": ("0.0405", "27.95", "0.7127"),
    "uniform": ("0.0391", "29.29", "0.7141"),
    "random": ("0.0391", "29.27", "0.7147"),
    "bioatt": ("0.0391", "29.30", "0.7161"),
}
"""RMSE, PSNR and SSIM of the paper's table 1."""
INSERTED = "with quarter-dose noise inserted"
DIGITS = {"rmse": 4, "psnr": 2, "ssim": 4}
HU = {
    "soft tissue/psnr_db": ("PSNR dB, −160…240 HU", 2),
    "soft tissue/ssim": ("SSIM, −160…240 HU", 3),
    "full/rmse_hu": ("RMSE HU, −1000…1000 HU", 1),
    "noise/output_over_low": ("σ output / input", 2),
    "bias_hu/soft tissue": ("bias HU, soft tissue", 2),
    "bias_hu/lung": ("bias HU, lung", 2),
}


@dataclass(frozen=True)
class Setting:
    """What a report tells of its runs beside their numbers. wanted: runs asked for; command: how to repeat them."""

    size: Size
    minutes: float | None
    wanted: int
    command: str
    bank: Bank
    machine: str


def write_report(results: Results, setting: Setting, folders: Mapping[str, Path], folder: Path) -> Path:
    """README.md, pictures and results.json in `folder`, of what has finished; returns the Markdown file.

    folders: of a finished run of each arm with attention maps, of the first seed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = draw_comparisons(results, folder)
    organs = shown_organs(tuple(setting.bank.header["descriptors"]))
    drawn += draw_attention(dict(folders), organs, folder)
    judged = claims(results)
    numbers = {
        "size": asdict(setting.size),
        "sentence": prior_sentence(results),
        "claims": [asdict(claim) for claim in judged],
        **results.plain(),
    }
    with atomic_write(folder / "results.json") as partial:
        partial.write_text(json.dumps(_rounded(numbers)), encoding="utf-8")
    text = "\n".join(_lines(results, setting, drawn)) + "\n"
    with atomic_write(folder / "README.md") as partial:
        partial.write_text(text, encoding="utf-8")
    return folder / "README.md"


def _lines(results: Results, setting: Setting, drawn: Sequence[str]) -> list[str]:
    lines = ["# The paper's experiments, run again", "", "Research use only.", ""]
    missing = setting.wanted - len(results.runs)
    if missing:
        lines += [f"**{len(results.runs)} of {setting.wanted} runs have finished**; what follows is of these.", ""]
    lines += [f"- {arm}, seed {seed}, failed: {said}" for (arm, seed), said in results.failures.items()]
    if not results.runs:
        return lines
    dull = [arm for arm in results.arms if not results.learned(arm)]
    if dull:
        lines += [f"**Not nearer to the scan than their input, and so too short: {', '.join(dull)}.**", ""]
    lines += [f"**{prior_sentence(results)}**", "", *_size(results, setting), ""]
    lines += [*_table(results), "", *_differences(results), "", *_claims(results, setting), ""]
    if drawn:
        lines += ["## Figures", "", *_figures(drawn, setting)]
    lines += [*_attention(results), *_whole_slices(results), "", *_costs(results), "", *_otherwise(setting)]
    return lines


def _rounded(value: Any) -> Any:
    """Numbers of six digits: more say nothing, and the file is kept with the project."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value


def _size(results: Results, setting: Setting) -> list[str]:
    size, contents = setting.size, Contents.of(setting.bank)
    seeds = sorted({seed for _, seed in results.runs})
    patches = size.epoch_patches or 3 * contents.train_patches
    steps = {
        arm: int(np.median([results.runs[arm, s].record["steps"] for s in results.seeds(arm)])) for arm in results.arms
    }
    said = [
        f"- {size.filters} filters (the paper: 96), epochs: {size.epochs} of {patches} patches of 55², of the "
        f"{contents.train_patches} in {contents.train_slices} training slices (the paper: 57,631, in its authors' "
        f"code are batches of 16); validation on {size.validation_patches or contents.validation_patches} patches.",
        "- Steps of a run: " + ", ".join(f"{arm} {count}" for arm, count in steps.items()) + ".",
        f"- {len(results.runs)} runs, seeds: {', '.join(map(str, seeds))}; a seed sets the first weights and which "
        "patches come when, the same for every arm.",
        f"- Judged on {_judged_slices(results)} test slices of {len(results.patients)} patients, "
        + ("whose other slices all runs trained on." if _shared_patients(setting.bank) else "that no run trained on."),
    ]
    if size.recipe == "budget":
        said.append(
            f"- Planned for {setting.minutes:g} minutes on {setting.machine}: Adam, one cycle up to a learning rate of "
            f"{LEARNING_RATE:g}, since the paper's 1e-5 hardly moves the weights in so few steps; batches of {BATCH}."
        )
    else:
        said.append(f"- The paper's recipe (Adam 1e-5, halved every 5 epochs, early stop 7), on {setting.machine}.")
    return ["## What was run", "", *said, "", "```", setting.command, "```"]


def _shared_patients(bank: Bank) -> bool:
    """Whether a patient is in training and test."""
    train, test = ({bank.slices[index].patient for index in bank.indices(part)} for part in ("train", "test"))
    return bool(train & test)


def _judged_slices(results: Results) -> int:
    run = next(iter(results.runs.values()))
    return sum(row["slices"] for row in run.evaluation["patients"])


def _table(results: Results) -> list[str]:
    first = results.arms[0]
    count = results.patches(first, "rmse")["patches"] // len(results.seeds(first))
    lines = [
        "## Table 1",
        "",
        f"The paper's protocol: {count} patches of 55² of the test slices, each through the unpadded network alone; "
        "standardised values, data range 1.0. First mean ± SD over patches and seeds, as the paper prints; then the "
        "mean over patients with its 95 % interval over patients and seeds. The paper's figures are of other data.",
        "",
        "| arm | seeds | RMSE | PSNR dB | SSIM | mean RMSE | mean PSNR dB | mean SSIM | paper: RMSE, PSNR, SSIM |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for arm, suffix in [(first, "_low"), *[(arm, "") for arm in results.arms]]:
        printed = [_printed(results.patches(arm, f"{metric}{suffix}"), n) for metric, n in DIGITS.items()]
        means = [bounds(results.interval(arm, f"protocol/{metric}{suffix}"), n) for metric, n in DIGITS.items()]
        name, seeds = ("low dose", "") if suffix else (arm, str(len(results.seeds(arm))))
        paper = "" if suffix else ", ".join(PAPER[arm])
        lines.append(f"| {' | '.join([name, seeds, *printed, *means, paper])} |")
    return lines


def _printed(group: Mapping[str, float], digits: int) -> str:
    return f"{group['mean']:.{digits}f} ± {group['sd']:.{digits}f}"


def _differences(results: Results) -> list[str]:
    if "bioatt" not in results.arms or len(results.arms) < 2:
        return []
    lines = [
        "BioAtt minus each other arm, paired by patient and seed, with its 95 % interval over both. There is no test "
        "over patients alone: they share the same few trainings, whose luck it would count as an effect.",
        "",
        "| bioatt − | RMSE | PSNR dB | SSIM |",
        "| --- | --- | --- | --- |",
    ]
    for arm in results.arms:
        cells = []
        for metric, digits in DIGITS.items():
            test = results.difference("bioatt", arm, f"protocol/{metric}") if arm != "bioatt" else None
            if test:
                cells.append(bounds(test["difference"], digits + 1, sign=True))
        if cells:
            lines.append(f"| {arm} | {' | '.join(cells)} |")
    return lines


def _claims(results: Results, setting: Setting) -> list[str]:
    lines = ["## What agrees with the paper", "", "| the paper says | here | numbers |", "| --- | --- | --- |"]
    lines += [f"| {claim.said} | **{claim.verdict}** | {claim.found} |" for claim in claims(results)]
    lines += [
        "",
        "Verdicts follow from the 95 % intervals: open where they leave both, of one seed or one patient, or of models "
        "that have not learned. They are bootstraps over patients and seeds, widened for the few by Student's t; those "
        "of courses are over seeds. Attention has no interval: all seeds must say the same.",
    ]
    if setting.size.recipe == "budget":
        lines[-1] += (
            " The one-cycle schedule, at whose end the learning rate is 0, decides how curves end: the paper's has no "
            "such end, and its courses cannot be told from these."
        )
    return lines


def _figures(drawn: Sequence[str], setting: Setting) -> list[str]:
    captions = {
        "figure5": "Figure 5: attention. Above the test patches (each arm minus BioAtt), below validation by epoch.",
        "figure6": "Figure 6: patches or whole slices. In the curves below, validation patches of the arm whole are "
        "cut from whole slices and have their surroundings, which those of the others lack.",
        "figure7": "Figure 7: weighting.",
    }
    assert captions.keys() == FIGURES.keys()
    shown = (
        "Figures 8 to 15: what the map of a descriptor has and the others have not, {} attention; one test slice, "
        "first seed. A map is a learned weighting named after the descriptor whose p weights it, no outline of the "
        "organ."
    )
    captions |= {f"attention-{stage}": shown.format(stage) for stage in ("middle", "last")}
    return [line for name in drawn for line in (f"![{captions[name]}]({name}.png)", "", captions[name], "")]


def _attention(results: Results) -> list[str]:
    rows = []
    for arm in ("random", "uniform", "bioatt", "whole"):
        for stage in ("middle", "last"):
            cells = []
            for figure in ("mean", "saturated", "organ_spread", "pixel_spread"):
                for last in (False, True):
                    values = results.attention(arm, stage, figure, last=last) if arm in results.arms else []
                    cells.append(f"{np.mean(values):.3f}" if values else "")
            if any(cells):
                epochs = {int(epoch) for epoch in results.attention(arm, stage, "epoch")}
                rows.append(f"| {arm} | {stage} | {', '.join(map(str, sorted(epochs)))} | {' | '.join(cells)} |")
    if not rows:
        return []
    return [
        "Attention A in the body of that slice, mean over seeds, epoch 1 and the last that was kept: its mean, the "
        "share above 0.95, its standard deviation between organs (mean over pixels) and between pixels (mean over "
        "organs).",
        "",
        "| arm | stage | last epoch | mean, first | last | above 0.95, first | last | between organs, first | last "
        "| between pixels, first | last |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
    ]


def _whole_slices(results: Results) -> list[str]:
    lines = [
        "## Whole slices in HU",
        "",
        "The same models on whole slices with full context, as `bioatt denoise` runs them; mean over patients and "
        "seeds with its 95 % interval.",
        "",
        f"| arm | {' | '.join(said for said, _ in HU.values())} |",
        f"| --- |{' --- |' * len(HU)}",
    ]
    for arm in results.arms:
        cells = [bounds(results.interval(arm, name), digits) for name, (_, digits) in HU.items()]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return lines


def _costs(results: Results) -> list[str]:
    lines = [
        "## Time and memory",
        "",
        "Each run is a process of its own; means over the runs that were not interrupted. Memory: its peak, of the GPU "
        "where there is one.",
        "",
        "| arm | steps | training s | s a step | judging s | peak memory MB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for arm in results.arms:
        records = [results.runs[arm, seed].record for seed in results.seeds(arm)]
        whole = [record for record in records if not record["interrupted"]]
        if whole:
            steps, fit, judge = (
                float(np.mean(values))
                for values in zip(
                    *[(r["steps"], r["seconds"]["fit"], r["seconds"]["judge"]) for r in whole], strict=True
                )
            )
            peaks = [record["peak_mb"] for record in whole if record["peak_mb"]]
            peak = f"{np.mean(peaks):.0f}" if peaks else ""
            lines.append(f"| {arm} | {steps:.0f} | {fit:.0f} | {fit / steps:.3f} | {judge:.0f} | {peak} |")
    return lines


def _otherwise(setting: Setting) -> list[str]:
    header: Mapping[str, Any] = setting.bank.header
    known = {
        "CT collection": f"public CT {INSERTED}",
        "single scans": f"single scans {INSERTED}",
        "Mayo 2016": "Mayo 2016, pairs of low and full dose",
        "LDCT-and-Projection-data": "LDCT-and-Projection-data, pairs of low and full dose",
        "pairs of folders": "pairs of low and full dose",
    }
    data = known.get(header.get("layout", ""), "a bank that does not say how its low dose was made")
    if _shared_patients(setting.bank):
        parting = "The same patients train and test, as the paper's authors have it: figures look better than they are."
    else:
        parting = "The split is by patient; the paper's authors split each patient's slices."
    return [
        "## Otherwise than in the paper",
        "",
        f"- Data: {data}. {parting}",
        f"- Each slice has its own prior; the authors' priors were assigned by position in a list. Training shows "
        f"that of the full-dose scan ({header['prior']}), as the maps above do; test slices have one of the low dose "
        f"alone ({setting.size.judgement.prior}).",
        "- The embedded prior was itself taught on organ labels of all 70 patients of the models' training data: where "
        "the bank is of these, it knows the test patients' anatomy.",
        "- The model with the lowest validation loss is judged; the paper pools the models of epochs 1, 5, 10 and 20.",
        "- Figures of epochs are of validation slices.",
        "- The arm whole trains on as many epochs and about as many pixels, in fewer steps of one slice.",
    ]
