"""Creation of the organ maps: data by part, fit on CPU or GPU, calibration, evaluation."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bioatt.anatomy.descriptors import DescriptorSet
from bioatt.core.errors import InputError
from bioatt.core.volume import Volume
from bioatt.io.files import atomic_write, make_folder
from bioatt.network.organ_maps import OrganMapNetwork
from bioatt.priors.organ_maps import FILE, SIGMA_MM, Calibration, OrganMapPrior, save_organ_maps
from bioatt_training.data.split import from_file
from bioatt_training.priors.organ_maps.calibrate import presence_line, temperature
from bioatt_training.priors.organ_maps.data import load_slices, phantom_slices
from bioatt_training.priors.organ_maps.fit import Fit, FitConfig, TrainingSets
from bioatt_training.priors.organ_maps.judge import Judgement, Scan, judge, scans_of
from bioatt_training.priors.organ_maps.slices import OrganSlices
from bioatt_training.simulate import insert_noise

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A network with averaged weights, its fit configuration and number of steps."""

    network: OrganMapNetwork
    config: Mapping[str, Any]
    steps: int


@dataclass(frozen=True)
class Prepared:
    """All slices of the collection, the part of each row, the simulated torsos' slices."""

    slices: OrganSlices
    part: NDArray[np.str_]
    phantom: OrganSlices
    descriptors: DescriptorSet

    def of(self, part: str) -> OrganSlices:
        """The rows of `train`, `validation` or `test`."""
        return self.slices.where(self.part == part)

    def patients(self, part: str) -> list[str]:
        """Names in `part`."""
        return sorted(set(self.of(part).patients))


def prepare(data: Path, folder: Path, descriptors: DescriptorSet, split: Path, phantoms: int) -> Prepared:
    """Read the collection and simulate the torsos; both are stored in `folder`, which is created.

    Raises InputError if the collection or the split cannot be used.
    """
    make_folder(folder)
    slices = _kept(folder / "slices.npz", lambda: load_slices(data, descriptors))
    phantom = _kept(folder / f"phantoms-{phantoms}.npz", lambda: phantom_slices(phantoms, descriptors))
    parts, _ = from_file(split, list(slices.patients))
    return Prepared(slices, np.array([parts[patient] for patient in slices.patients]), phantom, descriptors)


def _kept(path: Path, make: Callable[[], OrganSlices]) -> OrganSlices:
    if not path.is_file():
        made = make()
        with atomic_write(path) as partial:
            np.savez(partial, allow_pickle=False, **made.columns())
    with np.load(path) as held:
        return OrganSlices(**{name: held[name] for name in held.files})


def train(prepared: Prepared, config: FitConfig, folder: Path, start: Trained | None = None) -> Trained:
    """Train on the training patients, resuming a run in `folder` or continuing from a trained network."""
    rows = prepared.of("train")
    sets = TrainingSets(rows.where(rows.outlined), rows.where(~rows.outlined), prepared.phantom)
    fit = Fit(sets, config, folder, start=None if start is None else start.network)
    fit.run(lambda step, loss: log.info("step %d of %d, loss %.3f", step, config.steps, loss))
    before = None if start is None else {"fit": dict(start.config), "steps": start.steps}
    return Trained(fit.average, {**dataclasses.asdict(config), "before": before}, fit.step)


def adopt(named: str, classes: int) -> Trained:
    """A network with this many classes, trained by the GPU step `organs`: `FILE.pt` or `FILE.pt:VARIANT`, FILE.json
    beside it, as written by `variants`; without a name, the variant with the highest mean Dice on the validation
    patients.

    Raises InputError for invalid files and for an unknown variant.
    """
    path, variant = _split(named)
    try:
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        weights = torch.load(path, map_location="cpu", weights_only=True)
        variant = variant or max(record, key=lambda name: record[name]["history"][-1]["mean"])
        if variant not in weights or variant not in record:
            raise InputError(f"{path.name} has no variant {variant}: choose from {', '.join(sorted(record))}")
        config = record[variant]["config"]
        network = OrganMapNetwork(classes, tuple(config["widths"]))
        network.load_state_dict(weights[variant])
        return Trained(network, config, int(record[variant]["history"][-1]["step"]))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{path.name} and {path.stem}.json cannot be adopted ({type(error).__name__}): "
            "name the organs.pt of `Testing/gpu/run.sh organs`, its organs.json beside it"
        ) from None


def _split(named: str) -> tuple[Path, str]:
    path, colon, variant = named.rpartition(":")
    return (Path(path), variant) if colon and path.endswith(".pt") else (Path(named), "")


def export(trained: Trained, prepared: Prepared, data: Path, folder: Path) -> Path:
    """Calibrate the network on the validation patients and write it."""
    network = copy.deepcopy(trained.network).eval()
    n = len(prepared.descriptors)

    def write(path: Path, calibration: Calibration) -> Path:
        metadata = {
            "descriptors": list(prepared.descriptors.descriptors),
            "calibration": dataclasses.asdict(calibration),
            "fit": dict(trained.config),
            "steps": trained.steps,
        }
        save_organ_maps(path, network, metadata)
        return path

    divisor = temperature(network, prepared.of("validation"))
    raw = write(folder / f"raw-{trained.steps}-{FILE}", Calibration(divisor, (1.0,) * n, (0.0,) * n))
    slope, offsets = presence_line(*_presence_of(raw, prepared, data))
    return write(folder / FILE, Calibration(divisor, (slope,) * n, tuple(offsets)))


def _presence_of(
    weights: Path, prepared: Prepared, data: Path
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """(n, N) uncalibrated scores of the validation patients' slices, presence, and its certainty."""
    prior = OrganMapPrior(prepared.descriptors, path=weights)
    rows = []
    for scan in scans_of(data, prepared.patients("validation"), prepared.descriptors):
        if scan.presence is not None:
            presence = prior.maps(scan.volume).presence().astype(np.float64)
            rows.append((np.log(presence / (1 - presence)), *scan.presence))
    score, present, sure = (np.concatenate(column) for column in zip(*rows, strict=True))
    return score, present, sure


def judge_part(weights: Path, part: str, prepared: Prepared, data: Path, folder: Path) -> Mapping[str, Judgement]:
    """The maps on a part's patients: "volumes" as scanned; the outlined slices "alone", without neighbours; and the
    same at "quarter" dose (stored in `folder`).
    """
    descriptors = prepared.descriptors
    held = folder / "quarter"
    make_folder(held)

    def scans() -> Iterator[Scan]:
        return scans_of(data, prepared.patients(part), descriptors)

    def alone() -> Iterator[Scan]:
        return (scan.only_outlined() for scan in scans() if scan.outlined)

    def quarter(scan: Scan) -> Scan:
        path = held / (scan.name.replace("/", "_") + ".npy")
        if not path.is_file():
            np.save(path, np.rint(_quarter_dose(scan.volume)).astype(np.int16))
        return scan._replace(volume=dataclasses.replace(scan.volume, hu=np.load(path).astype(np.float32)))

    smoothed = OrganMapPrior(descriptors, path=weights)
    single = OrganMapPrior(descriptors, path=weights, smoothing=False)
    return {
        "volumes": judge(smoothed, scans(), descriptors),
        "alone": judge(single, alone(), descriptors),
        "quarter": judge(single, (quarter(scan) for scan in alone()), descriptors),
    }


def facts(prepared: Prepared, trained: Trained) -> dict[str, int | float]:
    """Facts about the data for the model card."""
    rows = prepared.of("train")
    return {
        "outlined": int(rows.outlined.sum()),
        "patients": len(set(rows.patients[rows.outlined])),
        "weak": int((~rows.outlined).sum()),
        "phantoms": len(prepared.phantom),
        "validation": len(prepared.patients("validation")),
        "test": len(prepared.patients("test")),
        "sigma": SIGMA_MM,
        "parameters": sum(parameter.numel() for parameter in trained.network.parameters()),
    }


def _quarter_dose(volume: Volume) -> NDArray[np.float32]:
    """HU with noise inserted to quarter dose, using a standard kernel if the scan's cannot be determined."""
    try:
        return insert_noise(volume.hu, volume.pixel_mm, dose_fraction=0.25).hu_low
    except InputError:
        return insert_noise(volume.hu, volume.pixel_mm, dose_fraction=0.25, kernel="B30").hu_low
