"""Adapt a model to the scans of a folder within a time limit; keep the result only if it is better on held-out
slices.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from torch.utils.data import default_collate

from bioatt.core.errors import InputError
from bioatt.core.hu import CLIP_HU
from bioatt.core.volume import Volume
from bioatt.inference.denoiser import Denoiser
from bioatt.inference.models import TrainedModel, load_model
from bioatt.io.files import atomic_write, make_folder
from bioatt_training.adversarial.methods import LowDose, Unpaired
from bioatt_training.data.bank import Bank, noise_scale
from bioatt_training.data.layouts import find_scans, side_folder
from bioatt_training.data.prepare import Plan, prepare
from bioatt_training.data.scans import Listing
from bioatt_training.evaluation.judge import spread
from bioatt_training.evaluation.statistics import paired
from bioatt_training.fit.arms import ArmName
from bioatt_training.fit.config import Config, DataConfig, Method, NetworkConfig, OptimiserConfig, RunConfig
from bioatt_training.fit.experiment import Experiment
from bioatt_training.fit.loaders import RunData
from bioatt_training.fit.run import fit
from bioatt_training.fit.schedule import build_optimiser

Holds = Literal["pairs", "unpaired", "low dose"]
LOW_DOSES = (0.5, 0.8)
JUDGED_AT = 0.5
"""Fraction of the low dose at which models are evaluated without pairs."""
MOST_SLICES, JUDGED_SLICES = 40, 16
"""Slices taken from each scan, and slices held out of all scans for evaluation."""
SHARE = 0.8
"""Share of the time after preparation that is spent on training; the rest is for evaluation."""
VALIDATIONS, LEAST_STEPS = 4, 8


@dataclass(frozen=True)
class Data:
    """The kind of data, the bank for training and evaluation, and the bank of low-dose scans if unpaired."""

    holds: Holds
    bank: Path
    dose: float
    low_bank: Path | None = None

    @property
    def judged(self) -> Path:
        """The bank whose test part is the scanner's low dose."""
        return self.low_bank or self.bank


def adapt(folder: Path, out: Path, *, minutes: float, model: str, say: Callable[[str], None]) -> Path | None:
    """Adapt `model` to the scans of `folder`; returns the adapted model's file, or None if `model` is at least as good.

    Pairs are used for supervised training, low and full dose of different patients for adversarial training, and low
    dose alone for training with added noise. Writes banks, the training and adapt.json to `out`; the same call resumes.
    Raises InputError if the folder has too few scans or the time is too short.
    """
    begun = time.monotonic()
    make_folder(out)
    shipped = load_model(model)
    data = prepared(folder, out, say)
    note = out / "steps.json"
    if note.is_file():
        steps = int(json.loads(note.read_text(encoding="utf-8"))["steps"])
    else:
        left = SHARE * (60 * minutes - (time.monotonic() - begun))
        steps = int(left / seconds_a_step(recipe(shipped, model, data, VALIDATIONS)))
        steps -= steps % VALIDATIONS
        if steps < LEAST_STEPS:
            raise InputError(f"{minutes:g} minutes are too short for these scans on this machine: give more --minutes")
        note.write_text(json.dumps({"steps": steps}), encoding="utf-8")
    say(f"{data.holds}: {steps} steps")
    adapted = fit(recipe(shipped, model, data, steps), out / "run")
    judged = compared(load_model(adapted), shipped, data)
    kept = judged["difference"][2] is not None and judged["difference"][2] < 0
    result = {"holds": data.holds, "steps": steps, "shipped": shipped.name, "kept": "adapted" if kept else "shipped"}
    with atomic_write(out / "adapt.json") as partial:
        partial.write_text(json.dumps({**result, **judged}, indent=1), encoding="utf-8")
    return adapted if kept else None


def prepared(folder: Path, out: Path, say: Callable[[str], None]) -> Data:
    """The banks of a folder's scans."""
    sides = [side_folder(folder, side) if folder.is_dir() else None for side in ("low", "full")]
    low, full = sides
    if low is not None and full is not None and not _has_pairs(folder):
        _prepare(find_scans(low), out / "bank-low", say)
        _prepare(find_scans(full), out / "bank", say)
        return Data("unpaired", out / "bank", JUDGED_AT, out / "bank-low")
    listing = find_scans(folder)
    pairs = [scan for scan in listing.scans if scan.low is not None]
    if pairs:
        listing = replace(listing, scans=pairs)
    _prepare(listing, out / "bank", say)
    return Data("pairs", out / "bank", pairs[0].dose) if pairs else Data("low dose", out / "bank", JUDGED_AT)


def _has_pairs(folder: Path) -> bool:
    try:
        return any(scan.low is not None for scan in find_scans(folder).scans)
    except InputError:  # no scans belong together
        return False


def _prepare(listing: Listing, bank: Path, say: Callable[[str], None]) -> None:
    several = len({scan.patient for scan in listing.scans}) >= 3
    plan = Plan("patients" if several else "slices", most_slices=MOST_SLICES, fast=True)
    prepare(listing, bank, plan, say=say)


def recipe(shipped: TrainedModel, name: str, data: Data, steps: int) -> Config:
    """Fine-tuning of the shipped network on the data."""
    network = shipped.network
    return Config(
        RunConfig("adapted", "1", initial=name, validate_every=steps // VALIDATIONS, export="last", ema_decay=0.9),
        NetworkConfig(cast(ArmName, network.arm), network.layout, network.filters),
        OptimiserConfig(steps=steps, learning_rate=2e-4, loss="relative_mse", margin=16),
        DataConfig(
            str(data.bank),
            patch=64,
            batch=4,
            validation_patches=32,
            doses=LOW_DOSES if data.holds == "low dose" else (data.dose, data.dose),
        ),
        _method(data),
    )


def _method(data: Data) -> Method | None:
    if data.holds == "pairs":
        return None
    if data.holds == "unpaired":
        return Unpaired(low_bank=str(data.low_bank), features="organ_maps", width=16)
    return LowDose(scanned_low=True)


def seconds_a_step(config: Config, steps: int = 3) -> float:
    """Time of a training step on this machine, excluding the first."""
    data = config.method.data(config) if config.method else RunData(config)
    build = config.method.experiment if config.method else Experiment
    experiment = build(config, len(data.descriptors), data.steps, data.epoch_steps)
    optimiser, taken = build_optimiser(config.optimiser, experiment._trained()), []
    for step in range(1 + steps):
        begun = time.monotonic()
        numbers = range(step * config.data.batch, (step + 1) * config.data.batch)
        with warnings.catch_warnings(action="ignore"):  # logs without a trainer
            experiment.training_step(default_collate([data.train[n] for n in numbers]), step).backward()
        optimiser.step()
        taken.append(time.monotonic() - begun)
    return float(np.mean(taken[1:]))


def compared(adapted: TrainedModel, shipped: TrainedModel, data: Data) -> dict[str, Any]:
    """Squared errors in HU² of both models on the held-out slices, and their paired difference [mean, low, high].

    With pairs, the reference is the full dose. Without pairs, both models see the low dose with added noise, and the
    target is that of `patches.NoisierPatches`; its noise adds the same amount to the expected error of both.
    """
    bank = Bank(data.judged)
    indices = spread(bank.indices("test"), JUDGED_SLICES)
    if not indices:
        raise InputError("no slices are left for evaluation: give more scans")
    errors: list[list[float]] = []
    denoisers = [Denoiser(model) for model in (adapted, shipped)]
    for index in indices:
        scan, noise = (image.astype(np.float32) for image in bank.pair(index))
        added = noise * noise_scale(data.dose)
        target = scan if data.holds == "pairs" else scan - added * data.dose / (1 - data.dose)
        one = bank.slices[index]
        low = np.clip(np.rint(scan + added), *CLIP_HU).astype(np.int16)
        volume = Volume(low[None], spacing=(one.pixel_mm, one.pixel_mm, one.thickness_mm or 5.0))
        outputs = [denoiser.preview(volume, 0, strength=1.0).volume.hu[0] for denoiser in denoisers]
        errors.append([float(np.mean((np.asarray(output, np.float64) - target) ** 2)) for output in outputs])
    new, old = np.array(errors).T
    return {
        "slices": len(indices),
        "squared_error_hu2": {"adapted": float(new.mean()), "shipped": float(old.mean())},
        "difference": paired(new, old)["difference"],
    }
