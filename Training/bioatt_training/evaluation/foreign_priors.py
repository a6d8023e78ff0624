"""Loss from priors that a model was not trained for, with and without the guard of `bioatt.priors.guard`.

    python -m bioatt_training.evaluation.foreign_priors DATA bioatt bioatt-fast

Five quarter-dose slices (simulated, seed 7), strength 1, float32; PSNR in the window [-160, 240] HU against the scan,
relative to that with the model's own prior. The only head belongs to a training patient.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.core.canonical import canonical
from bioatt.core.metrics import psnr
from bioatt.core.volume import Volume
from bioatt.inference.denoiser import Denoiser
from bioatt.inference.models import TrainedModel, load_model
from bioatt.io.images import read_volume
from bioatt.priors import AnatomicalPrior, FixedPrior, build_prior
from bioatt.priors.segmentation import Segmentation, SegmentationPrior
from bioatt_training.simulate.volumes import insert_into

WINDOW_HU = (-160.0, 240.0)
CASES = {
    "head": ("C3N-04457_headvault", 7, "brain", "bowel"),
    "pelvis": ("TCGA-09-2043_abdpelvis", 9, "pelvis", "lungs"),
    "neck": ("C3N-00249_chest", 98, "neck", "kidneys"),
    "liver": ("CRLM-CT-1004_liver", 25, "liver", "brain"),
    "chest": ("C3N-00249_chest", 60, "lungs", "liver"),
}
"""Volume, slice, an organ in the slice, and one that is not."""
DESCRIPTORS = load_descriptor_set("paper17")


def low_dose(scans: Path, volume: str, k: int) -> tuple[Volume, Volume]:
    """A slice at full and at quarter dose."""
    full = canonical(read_volume(scans / "volumes" / f"{volume}.nrrd").part(range(k, k + 1))).volume
    inserted, _ = insert_into(full, dose=0.25, seed=7)
    return full, full.with_hu(np.rint(inserted.hu_low).astype(full.hu.dtype))


def foreign_priors(scans: Path, volume: str, k: int, right: str, wrong: str) -> dict[str, AnatomicalPrior]:
    """Priors by name: without anatomy, peaked at an organ (one-hot, and like the paper's example), from organ masks."""
    names = DESCRIPTORS.descriptors
    organ = np.eye(len(names), dtype=np.float32)
    lungs = np.full(len(names), (1 - 0.9935) / (len(names) - 1), np.float32)
    lungs[names.index("lungs")] = 0.9935
    peaked = np.exp(4 * np.random.default_rng(7).standard_normal(len(names)))
    labels = read_volume(scans / "masks" / f"{volume}_z{k}.nrrd", hu=False)
    masks = Segmentation(labels, {value + 1: name for value, name in enumerate(names)})
    rows: Mapping[str, NDArray] = {
        "one-hot, right": organ[names.index(right)],
        "one-hot, wrong": organ[names.index(wrong)],
        "0.9935 lungs": lungs,
        "random softmax": peaked / peaked.sum(),
    }
    fixed = {name: FixedPrior(p, names) for name, p in rows.items()}
    return {
        "uniform": build_prior("uniform", descriptors=DESCRIPTORS),
        **fixed,
        "organ masks": SegmentationPrior(masks, DESCRIPTORS, build_prior("maps", descriptors=DESCRIPTORS)),
    }


def without_guard(model: TrainedModel) -> TrainedModel:
    """The model as if its file did not record its training priors."""
    training = {key: value for key, value in model.metadata["training"].items() if key != "prior_rise"}
    return replace(model, metadata={**model.metadata, "training": training})


def main(scans: Path, models: list[str]) -> None:
    """Print a line per model, slice and prior: dB relative to the own prior, without and with guard, and the blend."""
    print("| model | slice | prior | without guard, dB | with guard, dB | share of the own prior, % |")
    print("|---|---|---|---:|---:|---:|")
    for case, (volume, k, right, wrong) in CASES.items():
        full, low = low_dose(scans, volume, k)
        priors = foreign_priors(scans, volume, k, right, wrong)

        def judged(
            model: TrainedModel, prior: str | AnatomicalPrior, full: Volume = full, low: Volume = low
        ) -> tuple[float, float]:
            result = Denoiser(model, prior=prior, device="cpu", precision="fp32").denoise(low, strength=1.0)
            assert result.prior_blended is not None
            return float(psnr(full.hu, result.volume.hu, WINDOW_HU)), 100 * float(result.prior_blended.max())

        for name in models:
            model = load_model(name)
            own, _ = judged(model, "auto")
            print(f"| {name} | {case} | own | {own:.2f} (PSNR) | | |", flush=True)
            for source, prior in priors.items():
                before, _ = judged(without_guard(model), prior)
                after, share = judged(model, prior)
                change = f"{before - own:+.2f} | {after - own:+.2f}"
                print(f"| {name} | {case} | {source} | {change} | {share:.0f} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
