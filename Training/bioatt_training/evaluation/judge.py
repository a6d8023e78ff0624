"""Evaluation of a model on a part of a bank, patient by patient."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bioatt.core.errors import InputError
from bioatt.core.hu import CLIP_HU
from bioatt.core.noise import noise_level
from bioatt.core.volume import Volume
from bioatt.inference.denoiser import Denoiser
from bioatt.inference.models import TrainedModel, load_model
from bioatt.inference.run import placed
from bioatt.priors import Prior, build_prior
from bioatt_training.data.bank import Bank, noise_scale
from bioatt_training.evaluation.protocol import denoised_patches, grid_patches, patch_metrics
from bioatt_training.evaluation.statistics import interval, pooled
from bioatt_training.evaluation.whole_slice import noise_patches, slice_values, spectrum_values

Values = dict[str, float | None]
Further = Callable[[Volume, NDArray, NDArray], dict[str, float]]
"""Low dose (one slice), target and output (y, x) in HU → further metrics by name, NaN if unmeasurable."""
Row = dict[str, Any]
"""{"patient", "slices", "values": {name: number or None}, "protocol": {metric: {"patches", "mean", "sd"}}}."""


@dataclass(frozen=True)
class Judgement:
    """Evaluation settings.

    dose: dose fraction of the input. per_patient: maximum number of evenly spaced slices per patient; None for all.
    prior: "bank" for the bank's own (from the full-dose scan in its volume), or a source for `build_prior`, which sees
    only the low-dose slice. strength: fraction of the network's change that is applied; 1 / (1 − dose) removes the
    noise that a model trained on that dose retains (Noisier2Noise, `simulate.targets`). whole: also evaluate whole
    slices.
    """

    part: str = "test"
    dose: float = 0.25
    per_patient: int | None = None
    prior: str = "maps"
    strength: float = 1.0
    whole: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.dose < 1:
            raise InputError(f"dose {self.dose:g}: give a fraction between 0 and 1")
        if not 0 <= self.strength < math.inf:
            raise InputError(f"strength {self.strength:g}: give 0 (no change), 1 (the network's) or more")
        if self.per_patient is not None and self.per_patient < 1:
            raise InputError("per_patient must be 1 or more")


def evaluate(
    model: str | Path | TrainedModel,
    bank: Bank,
    judgement: Judgement,
    *,
    known: Sequence[Row] = (),
    progress: Callable[[list[Row]], None] = lambda _: None,
    further: Further | None = None,
) -> dict[str, Any]:
    """Metrics of a model by patient, and their means with bootstrap 95 % intervals over patients.

    known: rows of an earlier call to reuse. progress receives the rows so far after each patient. further: metrics of
    whole slices in addition to `slice_values`. Returns {"model", "sha256", "judgement", "patients": [Row], "mean":
    {name: [mean, low, high]}, "sd": {name: SD over patients}, "protocol": {metric: {"patches", "mean", "sd"} over all
    patches}}; names as in `slice_values`, and "protocol/rmse", "protocol/rmse_low" … for means over a patient's
    patches. Raises InputError for an empty part.
    """
    chosen = slices_by_patient(bank, judgement)
    judge = Judge(model if isinstance(model, TrainedModel) else load_model(model), bank, judgement, further)
    rows = [row for row in known if row["patient"] in chosen]
    done = {row["patient"] for row in rows}
    for patient, indices in chosen.items():
        if patient not in done:
            rows.append({"patient": patient, "slices": len(indices), **judge.patient(indices)})
            progress(rows)
    rows.sort(key=lambda row: row["patient"])
    found = {name: values for name, values in columns(rows).items() if np.isfinite(values).any()}
    return {
        "model": judge.model.name,
        "sha256": judge.model.sha256,
        "judgement": asdict(judgement),
        "patients": rows,
        "mean": {name: interval(values) for name, values in found.items()},
        "sd": {name: _spread(values) for name, values in found.items()},
        "protocol": {name: pooled(groups) for name, groups in _groups(rows).items()},
    }


def slices_by_patient(bank: Bank, judgement: Judgement) -> dict[str, list[int]]:
    """Slices to evaluate by patient, sorted by name. Raises InputError if there are none."""
    found: dict[str, list[int]] = {}
    for index in bank.indices(judgement.part):
        found.setdefault(bank.slices[index].patient, []).append(index)
    if not found:
        raise InputError(
            f"the bank has no {judgement.part} slices: choose another part, or create it with more patients"
        )
    most = judgement.per_patient
    return {patient: spread(indices, most) if most else indices for patient, indices in sorted(found.items())}


def spread(items: Sequence[int], count: int) -> list[int]:
    """Up to `count` items, the middles of equal parts, because the ends of a scan are atypical."""
    if len(items) <= count:
        return list(items)
    return [items[int((k + 0.5) * len(items) / count)] for k in range(count)]


def columns(rows: Sequence[Row]) -> dict[str, NDArray[np.float64]]:
    """Values by name, one per patient, NaN if missing."""
    names = dict.fromkeys(name for row in rows for name in row["values"])
    return {name: np.array([row["values"].get(name) for row in rows], np.float64) for name in names}


def _groups(rows: Sequence[Row]) -> dict[str, list[dict[str, float]]]:
    names = dict.fromkeys(name for row in rows for name in row["protocol"])
    return {name: [row["protocol"][name] for row in rows if name in row["protocol"]] for name in names}


def _spread(values: NDArray[np.float64]) -> float | None:
    values = values[np.isfinite(values)]
    return float(values.std(ddof=1)) if values.size > 1 else None


class Judge:
    """A model with its prior source, ready to evaluate slices."""

    def __init__(self, model: TrainedModel, bank: Bank, judgement: Judgement, further: Further | None = None) -> None:
        self.model, self.bank, self.judgement, self.further = model, bank, judgement, further
        self.denoiser = Denoiser(model)
        self.network = placed(model.network, self.denoiser.compute.device)
        self._source = cache(lambda: build_prior(judgement.prior, descriptors=self.denoiser.descriptors))

    def patient(self, indices: Sequence[int]) -> dict[str, Any]:
        """Means over a patient's slices, and the protocol's groups."""
        slices: list[dict[str, float]] = []
        patches: dict[str, list[NDArray]] = {}
        noise: dict[float, list[tuple[NDArray, NDArray]]] = {}
        for index in indices:
            target, low, volume = self._images(index)
            p = self._prior(index, volume)
            with torch.random.fork_rng():  # the random arm draws its weights: make them reproducible per slice
                torch.manual_seed(index)
                for name, found in self._protocol(target, low, p).items():
                    patches.setdefault(name, []).append(found)
                if self.judgement.whole:
                    result = self.denoiser.preview(volume, 0, strength=1.0, p=p)
                    output = self._blended(result.volume.hu[0].astype(np.float32), low)
                    more = self.further(volume, target, output) if self.further else {}
                    slices.append(slice_values(target, low, output) | more)
                    noise.setdefault(volume.pixel_mm, []).append(noise_patches(target, low, output))
        joined = {name: np.concatenate(parts) for name, parts in patches.items()}
        groups = {name: _group(found) for name, found in joined.items() if np.isfinite(found).any()}
        values: Values = {name: _mean([one.get(name, np.nan) for one in slices]) for name in _names(slices)}
        values |= {f"protocol/{name}": group["mean"] for name, group in groups.items()}
        return {"values": values | _spectrum(noise), "protocol": groups}

    def _images(self, index: int) -> tuple[NDArray, NDArray, Volume]:
        """Target, low dose as a scanner stores it, and the latter as a volume."""
        target, noise = self.bank.pair(index)
        one = self.bank.slices[index]
        low = np.clip(np.rint(target + noise * noise_scale(self.judgement.dose)), *CLIP_HU).astype(np.int16)
        spacing = (one.pixel_mm, one.pixel_mm, one.thickness_mm or 5.0)
        return np.asarray(target), low, Volume(low[None], spacing=spacing)

    def _prior(self, index: int, volume: Volume) -> NDArray[np.float32]:
        """p (N,) of a slice in the model's column order; all zero for a network without a prior."""
        if not self.network.uses_prior:
            return np.zeros(1, np.float32)
        if self.judgement.prior == "bank":
            names = tuple(self.bank.header["descriptors"])
            prior = Prior(self.bank.prior[index : index + 1], names, "bank", volume.slice_ids)
        else:
            prior = self._source().probabilities(volume)
        return np.asarray(prior.aligned_to(self.model.descriptors).p[0])

    def _blended(self, output: NDArray[np.float32], low: NDArray) -> NDArray[np.float32]:
        return low + np.float32(self.judgement.strength) * (output - low)

    def _protocol(self, target: NDArray, low: NDArray, p: NDArray[np.float32]) -> dict[str, NDArray]:
        """Metrics by patch, of the input ("…_low") and of the output; empty for a slice smaller than a patch."""
        reference, before = grid_patches(target), grid_patches(low)
        if not len(before):
            return {}
        after = self._blended(denoised_patches(self.network, before, p, noise_level(low)), before)
        lows = {f"{name}_low": values for name, values in patch_metrics(reference, before).items()}
        return lows | patch_metrics(reference, after)


def _group(values: NDArray) -> dict[str, float]:
    """Count, mean and SD of the finite values: a patch of two equal images has no PSNR."""
    kept = values[np.isfinite(values)]
    return {"patches": int(kept.size), "mean": float(kept.mean()), "sd": float(kept.std())}


def _names(slices: Sequence[dict[str, float]]) -> list[str]:
    return list(dict.fromkeys(name for one in slices for name in one))


def _mean(values: Sequence[float]) -> float | None:
    """Mean of the finite values; None if there are none, as JSON has no NaN."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else None


def _spectrum(noise: dict[float, list[tuple[NDArray, NDArray]]]) -> dict[str, float]:
    """`spectrum_values` of the patches with the most frequent pixel size."""
    joined = {mm: tuple(np.concatenate(parts) for parts in zip(*pairs, strict=True)) for mm, pairs in noise.items()}
    if not joined:
        return {}
    pixel_mm, (inserted, removed) = max(joined.items(), key=lambda item: len(item[1][0]))
    return spectrum_values(inserted, removed, pixel_mm)
