"""The report of a reproduction: README.md, its figures, and results.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bioatt_training.data.bank import Bank
from bioatt_training.reporting import (
    format_interval,
    format_mean_sd,
    markdown_figures,
    markdown_table,
    write_json,
    write_markdown,
)
from bioatt_training.studies.reproduction.attention_maps import shown_organs
from bioatt_training.studies.reproduction.figures import FIGURES, draw_attention, draw_comparisons
from bioatt_training.studies.reproduction.findings import findings, prior_sentence
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
METRICS = ("RMSE", "PSNR dB", "SSIM")
ATTENTION = {
    "mean": "mean",
    "saturated": "above 0.95",
    "organ_spread": "between organs",
    "pixel_spread": "between pixels",
}
"""Values of `attention_maps.keep_maps` and their headings."""
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
    """The runs' size, budget in minutes, number requested (wanted), command, bank and machine."""

    size: Size
    minutes: float | None
    wanted: int
    command: str
    bank: Bank
    machine: str


def write_report(results: Results, setting: Setting, folders: Mapping[str, Path], folder: Path) -> None:
    """Write README.md, figures and results.json of the finished runs to `folder`.

    folders: of the first seed's finished run of each arm with attention maps.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = draw_comparisons(results, folder)
    organs = shown_organs(tuple(setting.bank.header["descriptors"]))
    drawn += draw_attention(dict(folders), organs, folder)
    numbers = {
        "size": asdict(setting.size),
        "sentence": prior_sentence(results),
        "findings": [asdict(finding) for finding in findings(results)],
        **results.plain(),
    }
    write_json(folder / "results.json", numbers, digits=6)
    write_markdown(folder / "README.md", _lines(results, setting, drawn))


def _lines(results: Results, setting: Setting, drawn: Sequence[str]) -> list[str]:
    lines = ["# Reproduction of the paper's experiments", "", "Research use only.", ""]
    missing = setting.wanted - len(results.runs)
    if missing:
        lines += [
            f"**{len(results.runs)} of {setting.wanted} runs have finished**; the results below cover only these.",
            "",
        ]
    lines += [f"- {arm}, seed {seed}, failed: {said}" for (arm, seed), said in results.failures.items()]
    if not results.runs:
        return lines
    dull = [arm for arm in results.arms if not results.learned(arm)]
    if dull:
        lines += [f"**Too short: the outputs are not closer to the scan than the inputs for {', '.join(dull)}.**", ""]
    lines += [f"**{prior_sentence(results)}**", "", *_size(results, setting), ""]
    lines += [*_table(results), "", *_differences(results), "", *_agreement(results, setting), ""]
    if drawn:
        lines += ["## Figures", "", *_figures(drawn, setting)]
    lines += [*_attention(results), *_whole_slices(results), "", *_costs(results), "", *_deviations(setting)]
    return lines


def _size(results: Results, setting: Setting) -> list[str]:
    size, contents = setting.size, Contents.of(setting.bank)
    seeds = sorted({seed for _, seed in results.runs})
    patches = size.epoch_patches or 3 * contents.train_patches
    steps = {
        arm: int(np.median([results.runs[arm, s].record["steps"] for s in results.seeds(arm)])) for arm in results.arms
    }
    said = [
        f"- {size.filters} filters (paper: 96); {size.epochs} epochs of {patches} patches of 55², out of "
        f"{contents.train_patches} in {contents.train_slices} training slices (paper: 57,631, which in its authors' "
        f"code are batches of 16); validation on {size.validation_patches or contents.validation_patches} patches.",
        "- Steps per run: " + ", ".join(f"{arm} {count}" for arm, count in steps.items()) + ".",
        f"- {len(results.runs)} runs, seeds: {', '.join(map(str, seeds))}; each seed sets the initial weights and "
        "the order of the patches, identical for all arms.",
        f"- Evaluated on {_judged_slices(results)} test slices of {len(results.patients)} patients, "
        + (
            "whose other slices were used to train all runs."
            if _shared_patients(setting.bank)
            else "held out from all runs."
        ),
    ]
    if size.recipe == "budget":
        said.append(
            f"- Planned for {setting.minutes:g} minutes on {setting.machine}: Adam, one cycle up to a learning rate of "
            f"{LEARNING_RATE:g}, because the paper's 1e-5 hardly moves the weights in so few steps; batches of {BATCH}."
        )
    else:
        said.append(f"- The paper's recipe (Adam 1e-5, halved every 5 epochs, early stop 7), on {setting.machine}.")
    return ["## Setup", "", *said, "", "```", setting.command, "```"]


def _shared_patients(bank: Bank) -> bool:
    """Whether a patient is in both training and test."""
    train, test = ({bank.slices[index].patient for index in bank.indices(part)} for part in ("train", "test"))
    return bool(train & test)


def _judged_slices(results: Results) -> int:
    run = next(iter(results.runs.values()))
    return sum(row["slices"] for row in run.evaluation["patients"])


def _table(results: Results) -> list[str]:
    first = results.arms[0]
    count = results.patches(first, "rmse")["patches"] // len(results.seeds(first))
    rows = []
    for arm, suffix in [(first, "_low"), *[(arm, "") for arm in results.arms]]:
        printed = [format_mean_sd(results.patches(arm, f"{metric}{suffix}"), n) for metric, n in DIGITS.items()]
        means = [
            format_interval(results.interval(arm, f"protocol/{metric}{suffix}"), n) for metric, n in DIGITS.items()
        ]
        name, seeds = ("low dose", "") if suffix else (arm, str(len(results.seeds(arm))))
        rows.append([name, seeds, *printed, *means, "" if suffix else ", ".join(PAPER[arm])])
    headings = ["arm", "seeds", *METRICS, *(f"mean {metric}" for metric in METRICS), "paper: RMSE, PSNR, SSIM"]
    return [
        "## Table 1",
        "",
        f"The paper's protocol: {count} patches of 55² from the test slices, each passed through the unpadded network "
        "separately; standardised values, data range 1.0. The first columns are the mean ± SD over patches and seeds, "
        "as in the paper; the next are the mean over patients with its 95 % interval over patients and seeds. The "
        "paper's values come from different data.",
        "",
        *markdown_table(headings, rows),
    ]


def _differences(results: Results) -> list[str]:
    if "bioatt" not in results.arms or len(results.arms) < 2:
        return []
    rows = []
    for arm in results.arms:
        tests = (
            [results.difference("bioatt", arm, f"protocol/{metric}") for metric in DIGITS] if arm != "bioatt" else []
        )
        cells = [
            format_interval(test["difference"], digits + 1, sign=True)
            for test, digits in zip(tests, DIGITS.values(), strict=False)
            if test
        ]
        if cells:
            rows.append([arm, *cells])
    return [
        "BioAtt minus each other arm, paired by patient and seed, with the 95 % interval over both. Patients alone are "
        "not tested: they share the few training runs, so such a test would mistake run variation for an effect.",
        "",
        *markdown_table(["bioatt −", *METRICS], rows),
    ]


def _agreement(results: Results, setting: Setting) -> list[str]:
    rows = [[finding.said, f"**{finding.verdict}**", finding.found] for finding in findings(results)]
    note = (
        "Verdicts follow from the 95 % intervals. They are open if the interval allows both outcomes, with a single "
        "seed or patient, and for models that have not learned. Intervals are bootstraps over patients and seeds, "
        "widened for small samples by Student's t; those of training curves are over seeds. Attention has no interval: "
        "all seeds must agree."
    )
    if setting.size.recipe == "budget":
        note += (
            " The one-cycle schedule, which ends at a learning rate of 0, shapes the end of the curves. The paper's "
            "schedule ends differently, so these curves say nothing about the paper's."
        )
    return ["## Agreement with the paper", "", *markdown_table(["the paper", "here", "numbers"], rows), "", note]


def _figures(drawn: Sequence[str], setting: Setting) -> list[str]:
    captions = {
        "figure5": "Figure 5: attention. Top: test patches (each arm minus BioAtt). Bottom: validation by epoch.",
        "figure6": "Figure 6: patches or whole slices. In the bottom curves, validation patches of the arm whole are "
        "cut from denoised whole slices and therefore have context, unlike those of the other arms.",
        "figure7": "Figure 7: weighting.",
    }
    assert captions.keys() == FIGURES.keys()
    shown = (
        "Figures 8 to 15: the map of each descriptor relative to the others, {} attention; one test slice, first seed. "
        "A map is a learned weighting named after the descriptor whose p weights it, not an outline of the organ."
    )
    captions |= {f"attention-{stage}": shown.format(stage) for stage in ("middle", "last")}
    return markdown_figures({f"{name}.png": captions[name] for name in drawn})


def _attention(results: Results) -> list[str]:
    rows = []
    for arm in ("random", "uniform", "bioatt", "whole"):
        for stage in ("middle", "last") if arm in results.arms else ():
            cells = [
                f"{np.mean(values):.3f}" if values else ""
                for figure in ATTENTION
                for values in (results.attention(arm, stage, figure, last=last) for last in (False, True))
            ]
            if any(cells):
                epochs = {int(epoch) for epoch in results.attention(arm, stage, "epoch")}
                rows.append([arm, stage, ", ".join(map(str, sorted(epochs))), *cells])
    if not rows:
        return []
    headings = [heading for text in ATTENTION.values() for heading in (f"{text}, first", "last")]
    return [
        "Attention A within the body of that slice, mean over seeds, at epoch 1 and the last epoch kept: mean, "
        "fraction above 0.95, and standard deviation between organs (mean over pixels) and between pixels (mean over "
        "organs).",
        "",
        *markdown_table(["arm", "stage", "last epoch", *headings], rows),
        "",
    ]


def _whole_slices(results: Results) -> list[str]:
    rows = [
        [arm, *(format_interval(results.interval(arm, name), digits) for name, (_, digits) in HU.items())]
        for arm in results.arms
    ]
    return [
        "## Whole slices in HU",
        "",
        "The same models applied to whole slices with full context, like `bioatt denoise`; mean over patients and "
        "seeds with its 95 % interval.",
        "",
        *markdown_table(["arm", *(text for text, _ in HU.values())], rows),
    ]


def _costs(results: Results) -> list[str]:
    rows = []
    for arm in results.arms:
        records = [results.runs[arm, seed].record for seed in results.seeds(arm)]
        whole = [record for record in records if not record["interrupted"]]
        if whole:
            steps = float(np.mean([record["steps"] for record in whole]))
            fit, judge = (float(np.mean([record["seconds"][part] for record in whole])) for part in ("fit", "judge"))
            peaks = [record["peak_mb"] for record in whole if record["peak_mb"]]
            peak = f"{np.mean(peaks):.0f}" if peaks else ""
            rows.append([arm, f"{steps:.0f}", f"{fit:.0f}", f"{fit / steps:.3f}", f"{judge:.0f}", peak])
    return [
        "## Time and memory",
        "",
        "Each run is a separate process; means over the uninterrupted runs. Memory is the peak of the process, or of "
        "the GPU if one is used.",
        "",
        *markdown_table(["arm", "steps", "training s", "s per step", "evaluation s", "peak memory MB"], rows),
    ]


def _deviations(setting: Setting) -> list[str]:
    header: Mapping[str, Any] = setting.bank.header
    known = {
        "CT collection": f"public CT {INSERTED}",
        "single scans": f"single scans {INSERTED}",
        "Mayo 2016": "Mayo 2016, pairs of low and full dose",
        "LDCT-and-Projection-data": "LDCT-and-Projection-data, pairs of low and full dose",
        "pairs of folders": "pairs of low and full dose",
    }
    data = known.get(header.get("layout", ""), "a bank without a record of how its low dose was generated")
    if _shared_patients(setting.bank):
        parting = "Training and test share patients, as in the authors' code: the results are optimistic."
    else:
        parting = "The split is by patient; the paper's authors split each patient's slices."
    return [
        "## Differences from the paper",
        "",
        f"- Data: {data}. {parting}",
        f"- Each slice has its own prior; the authors assigned priors by position in a list. Training and the "
        f"maps above use the prior of the full-dose scan ({header['prior']}), the test that of the low-dose slice "
        f"({setting.size.judgement.prior}).",
        "- The organ maps were themselves trained on outlines of 54 patients; if a bank's test patients are among "
        "them, the maps have seen their anatomy.",
        "- The model with the lowest validation loss is tested; the paper pools the models of epochs 1, 5, 10 and 20.",
        "- Values by epoch are from validation slices.",
        "- The arm whole trains for as many epochs on about as many pixels, in fewer steps of one slice each.",
    ]
