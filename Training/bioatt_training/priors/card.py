"""The embedded prior's model card, from measured figures."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from bioatt_training.priors.fit import FitConfig
from bioatt_training.priors.judge import LEAST_PATIENTS, Judgement
from bioatt_training.reporting import format_number, markdown_table

_HEAD = """\
# Embedded prior

Which of seventeen anatomical descriptors (`paper17`) a CT slice shows, as a distribution: the prior of BioAttDenoise
that needs no download. **Research use only**: it estimates what a slice shows, not what disease a patient has.

- Input: one axial slice in HU with its pixel size, averaged onto 128 × 128 cells of 3.6 mm around the tissue's centre
  of mass, in three windows (lung, soft tissue, bone). The answer is the mean over the eight turned and mirrored views.
- Output: presence of each descriptor (0…1), and p: an equal share to each visible descriptor, weighted by presence.
- Network: seven convolutions, {parameters:,} parameters, {bytes:,} bytes, SHA-256 `{sha256}`.
- Training: labelled slices of 70 patients and {heads} drawn heads; {epochs} epochs, AdamW, one cycle; field of view,
  size, pose, table, contrast, kernel and noise varied at random. Labels next to an organ's end are left out.
- Calibration: one factor of {factor:.3f} on the logits, found on left-out patients.

## Left-out patients

{folds} groups of patients, each judged by a network trained on the others only, {judged} slices. Made by
`bioatt-train prior CT OUT`. The file here was then trained on all patients, the denoiser's test patients too.

AUC: presence of the descriptor over slices with sure labels. AUC of p: the same for the share p, which also falls as
other descriptors appear (a spine is on nearly every slice, so its share says little of it). Reliability gap: expected
calibration error in ten bins, of p against the equal share and of presence against the label.

"""
_LIMITS = """
## Limits

- **Brain and skull** come from one head above the face and from drawn heads. Left out, the real head is known from
  drawings alone: the table's figures for them say how well that goes, for one patient. The face and the skull base
  were never seen.
- **Pelvis** comes from nine patients, of whom three show the hips; hips and bladder count as pelvis. The one patient
  seen from liver to hips, with a large pelvic mass, is taken for belly where the label says pelvis when left out.
- Adults, mostly with cancer, from thirteen public collections; 54 of the 70 patients are known by single slices, mostly
  of the chest. Limbs, children, implants and large resections are hardly there or not at all.
- Tables were removed from the data and drawn again at random; unusual supports may disturb.
- Probabilities are calibrated on slices like these, not on another hospital's mixture.

## Data

From The Cancer Imaging Archive under Creative Commons Attribution licences (CC BY 3.0, 4.0), changed: masked, cropped,
resampled. TCGA-OV 10.7937/K9/TCIA.2016.NDO1MDFQ; CPTAC-PDA 10.7937/K9/TCIA.2018.SC20FO18; CPTAC-LSCC
10.7937/K9/TCIA.2018.6EMUB5L2; TCGA-THCA 10.7937/K9/TCIA.2016.9ZFRVF1B; LIDC-IDRI 10.7937/K9/TCIA.2015.LO9QL9SX;
Colorectal-Liver-Metastases 10.7937/QXK2-QG03; Lung-Fused-CT-Pathology 10.7937/K9/TCIA.2018.SMT36LPN; Lung-PET-CT-Dx
10.7937/TCIA.2020.NNC2-0461; ACRIN-FLT-Breast 10.7937/K9/TCIA.2017.OL20ZMXG; CMB-CRC 10.7937/DJG7-GZ87; RIDER Lung CT
10.7937/K9/TCIA.2015.U1X8A5NR; TCGA-LUAD 10.7937/K9/TCIA.2016.JGNIHEP5; TCGA-LUSC 10.7937/K9/TCIA.2016.TYGKKFMQ.
Weights: Apache-2.0.
"""


def model_card(
    judgement: Judgement,
    under: Mapping[str, Judgement],
    factor: float,
    config: FitConfig,
    weights: Path,
    folds: int,
    parameters: int,
    heads: int,
) -> str:
    """Markdown: what it is, the figures on left-out patients as they are and `under` changes, limits, data."""
    content = weights.read_bytes()
    head = _HEAD.format(
        parameters=parameters,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        heads=heads,
        epochs=config.epochs,
        factor=factor,
        folds=folds,
        judged=judgement.judged,
    )
    return head + _by_descriptor(judgement) + _totals(judgement) + _under(under) + _LIMITS


def _by_descriptor(judgement: Judgement) -> str:
    rows = []
    for n, name in enumerate(judgement.descriptors):
        figures = (judgement.auc[n], judgement.auc_p[n], judgement.gap[n], judgement.presence_gap[n])
        few = "" if judgement.scored[n] else " *"
        counts = str(judgement.patients[n]), str(judgement.slices[n])
        rows.append([f"{name}{few}", *counts, *(format_number(figure, 3) for figure in figures)])
    headings = ["descriptor", "patients", "slices", "AUC", "AUC of p", "gap of p", "gap of presence"]
    lines = [*markdown_table(headings, rows), "", f"\\* fewer than {LEAST_PATIENTS} patients: not in the mean.", ""]
    return "\n".join(lines)


def _totals(judgement: Judgement) -> str:
    means = [
        ["AUC", f"**{judgement.macro_auc:.3f}**"],
        ["AUC of p", f"{judgement.macro_auc_p:.3f}"],
        ["largest reliability gap, all descriptors: of p, of presence", _gaps(judgement)],
    ]
    losses = [
        ["this prior", f"**{judgement.log_loss:.3f}**"],
        ["the same distribution for every slice", f"{judgement.constant:.3f}"],
        ["the mean of the volume's region (head, neck, chest, …, given)", f"{judgement.region:.3f}"],
        ["least possible (the target's entropy)", f"{judgement.entropy:.3f}"],
    ]
    lines = [
        "",
        *markdown_table([f"mean over descriptors of at least {LEAST_PATIENTS} patients", ""], means),
        "",
        *markdown_table(["log-loss against equal shares", "nats"], losses),
        "",
        f"The largest p belongs to a visible descriptor on {100 * judgement.top1:.1f} % of slices "
        f'("spine" everywhere: {100 * judgement.slices[-1] / judgement.judged:.1f} %).',
        "",
    ]
    return "\n".join(lines)


def _under(under: Mapping[str, Judgement]) -> str:
    rows = [
        [
            what,
            str(one.judged),
            *(f"{value:.3f}" for value in (one.macro_auc, one.macro_auc_p, one.log_loss)),
            _gaps(one),
        ]
        for what, one in under.items()
    ]
    headings = ["scan", "slices", "AUC", "AUC of p", "log-loss", "largest gap of p, of presence"]
    lines = [
        "\n## The same on changed scans\n",
        "Every third slice of a volume and all single slices, changed at full resolution.\n",
        *markdown_table(headings, rows),
        "",
    ]
    return "\n".join(lines)


def _gaps(judgement: Judgement) -> str:
    return f"{judgement.gap.max():.3f}, {judgement.presence_gap.max():.3f}"
