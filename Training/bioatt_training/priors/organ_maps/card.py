"""The organ maps' model card, from measured figures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from bioatt_training.evaluation.statistics import interval
from bioatt_training.priors.organ_maps.judge import Judgement
from bioatt_training.reporting import format_interval

_HEAD = """\
# Organ maps

For every place of an axial CT slice the probability of seventeen anatomical descriptors (`paper17`) and of none of
them. Pooled over the slice it is the paper's prior p (N); place by place the spatial prior p (N, H, W). **Research use
only**: no segmentation for diagnosis or planning.

- Input: one axial slice in HU with its pixel size, averaged onto cells of 3.3 mm, in three windows (lung, soft tissue,
  bone), and each cell's place in the body's box. One pass. Neighbouring slices are averaged with Gaussian weights of
  their distance (σ {sigma:g} mm).
- Network: U-net, {parameters:,} weights stored as int8, {bytes:,} bytes, SHA-256 `{sha256}`.
- Training: {outlined} outlined slices of {patients} patients; {weak} slices without outlines, of which is known which
  organs they show; {phantoms} slices of simulated torsos; {steps};
  AdamW, cosine, weights averaged. Pose (prone, turned, mirrored), size, shape, field of view, table, contrast agent,
  kernel and noise are varied at random; organs are removed, tumours, ascites and oral contrast agent put in,
  enhancement taken away.
- Calibration on {validation} validation patients: temperature {temperature:.2f} for the maps, a line for presence.

## Left-out patients

{test} test patients, {slices} outlined slices, judged on the slice's own pixels; the class with the largest probability
counts. Mean over patients, each patient's slices pooled; n: patients whose outlines hold the organ. Pixels of 0 where
the outlines' remarks name the organ are left out. The outlines are good to about 3 px, bowel is never outlined whole
(recall counts), neck has arbitrary limits. AUC: of the organ's map for its outline over the body's pixels of slices
that show it. Presence: over {presence_slices} slices of known organs. The last columns: every outlined slice by itself,
without its neighbours, at its own dose → with noise inserted to a quarter of the dose (`simulate`). {apart} has a
large abdominal tumour and ascites and is shown apart: it is in none of the means.
Made by `bioatt-train organ-maps`.

"""
_PICTURE = """
![The most probable organ at every pixel, on left-out patients](organ_maps.png)

*Left-out patients; each slice is the one in whose outlines the organ named above it is largest. Filled: the most
probable organ by the maps. White line: the outlines.*
"""
_LIMITS = """
## Limits

- Few patients train it: the table says where that shows. Kidney and spleen are taken for each other in unenhanced or
  diseased patients, bowel full of contrast agent for kidney or pelvis; small ends of organs are missed on some slices.
- **Skull and brain** come from one head, which trains: they are not scored. **Pelvis** trains on few patients and the
  Visible Human and is outlined in one test patient, the one apart; **neck** and **pancreas** are few as well.
- A tumour, ascites or a large cyst may be taken for an organ beside it, see the patient apart.
- Heart, mediastinum and thoracic aorta meet where the outlines' conventions are loose (aortic root, great vessels).
- Adults, mostly with cancer, from thirteen public collections. Children, limbs, implants, large resections are hardly
  there or not at all.
- Tables were removed from the data and drawn again at random; unusual supports may disturb.

## Data

From The Cancer Imaging Archive under Creative Commons Attribution licences (CC BY 3.0, 4.0), changed: masked, cropped,
resampled, outlined. TCGA-OV 10.7937/K9/TCIA.2016.NDO1MDFQ; CPTAC-PDA 10.7937/K9/TCIA.2018.SC20FO18; CPTAC-LSCC
10.7937/K9/TCIA.2018.6EMUB5L2; TCGA-THCA 10.7937/K9/TCIA.2016.9ZFRVF1B; LIDC-IDRI 10.7937/K9/TCIA.2015.LO9QL9SX;
Colorectal-Liver-Metastases 10.7937/QXK2-QG03; Lung-Fused-CT-Pathology 10.7937/K9/TCIA.2018.SMT36LPN; Lung-PET-CT-Dx
10.7937/TCIA.2020.NNC2-0461; ACRIN-FLT-Breast 10.7937/K9/TCIA.2017.OL20ZMXG; CMB-CRC 10.7937/DJG7-GZ87; RIDER Lung CT
10.7937/K9/TCIA.2015.U1X8A5NR; COVID-19-NY-SBU 10.7937/TCIA.BBAG-2923; TCGA-LUAD 10.7937/K9/TCIA.2016.JGNIHEP5;
TCGA-LUSC 10.7937/K9/TCIA.2016.TYGKKFMQ. Visible Human Project, National Library of Medicine. Weights: Apache-2.0.
"""
_NOT_SCORED = ("skull", "brain")


def model_card(weights: Path, facts: Mapping[str, int | float], judgements: Mapping[str, Judgement], apart: str) -> str:
    """Markdown: what it is, figures on left-out patients at both doses, the patient apart, limits, data.

    facts: outlined, patients, weak, phantoms, validation, test, sigma, parameters.
    """
    content = weights.read_bytes()
    with safetensors.safe_open(weights, framework="np") as file:
        metadata = json.loads(file.metadata()["bioatt"])
    full = judgements["volumes"]
    head = _HEAD.format(
        **facts,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        steps=_steps(metadata),
        temperature=metadata["calibration"]["temperature"],
        slices=full.slices,
        presence_slices=full.presence_slices,
        apart=apart,
    )
    return (
        head
        + _by_organ(judgements, apart)
        + _noise(full, apart)
        + _PICTURE
        + _patient_apart(judgements, apart)
        + _LIMITS
    )


def _steps(metadata: Mapping[str, Any]) -> str:
    """The steps of a training, and of the one before it that it went on from."""
    fit = metadata["fit"]
    taken = f"{metadata['steps']} steps of {fit['outlined'] + fit['weak'] + fit['phantom']} slices"
    return f"{_steps(fit['before'])}, then {taken}" if fit.get("before") else taken


def _by_organ(judgements: Mapping[str, Judgement], apart: str) -> str:
    full, *single = (judgements[name] for name in ("volumes", "alone", "quarter"))
    columns = [full.mean(getattr(full, name), (apart,)) for name in ("dice", "recall", "auc")] + [full.presence_auc]
    pairs = [[one.mean(getattr(one, name), (apart,)) for one in single] for name in ("dice", "recall", "auc")]
    pairs.append([one.presence_auc for one in single])
    scored = [n for n, name in enumerate(full.descriptors) if name not in _NOT_SCORED]

    def line(pick: Callable[[NDArray[np.float64]], float]) -> str:
        alone = [" → ".join(_number(pick(column)) for column in pair) for pair in pairs]
        return " | ".join([*(_number(pick(column)) for column in columns), *alone])

    lines = [
        "| descriptor | n | Dice | recall | AUC | presence AUC | Dice → ¼ | recall → ¼ | AUC → ¼ | presence AUC → ¼ |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    counts = full.count((apart,))
    for n in scored:
        lines.append(f"| {full.descriptors[n]} | {counts[n]} | {line(itemgetter(n))} |")
    lines.append(f"| **mean** | | {line(lambda column: _mean(column[scored]))} |")
    gaps = full.presence_gap[scored]
    lines.append(
        "\nCalibration: mean presence differs from the share of slices that show the organ by "
        f"{_number(_mean(gaps))} in the mean over organs, by {_number(np.nanmax(gaps))} at most."
    )
    return "\n".join(lines) + "\n"


def _noise(found: Judgement, apart: str) -> str:
    """Noise by organ as the maps have it against the outlines, a sentence."""
    kept = [patient != apart for patient in found.patients]
    said = [
        f"{name} {format_interval(interval(ratios), count=len(ratios))} (n = {len(ratios)})"
        for name, column in zip(found.descriptors, found.noise_ratio[kept].T, strict=True)
        if (ratios := [float(one) for one in column if np.isfinite(one)])
    ]
    if not said:
        return ""
    return (
        "\nNoise within the maps' organ over that within its outline, in slices where both are homogeneous, mean over "
        f"patients with 95 % interval: {'; '.join(said)}.\n"
    )


def _patient_apart(judgements: Mapping[str, Judgement], apart: str) -> str:
    full = judgements["volumes"]
    if apart not in full.patients:
        return ""
    row = full.patients.index(apart)
    lines = [
        f"\n## {apart}\n",
        "| descriptor | Dice | recall | cm² a slice where the outlines have none |",
        "|---|---|---|---|",
    ]
    for n, name in enumerate(full.descriptors):
        dice, recall, wrong = full.dice[row, n], full.recall[row, n], full.wrong_cm2[row, n]
        if np.isfinite(dice) or wrong >= 0.5:
            lines.append(f"| {name} | {_number(dice)} | {_number(recall)} | {_number(wrong, 1)} |")
    return "\n".join(lines) + "\n"


def _mean(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def _number(value: float | NDArray[np.float64], digits: int = 3) -> str:
    return f"{float(value):.{digits}f}" if np.isfinite(value) else "–"
