"""From folders of scans to a bank: pairs as they are, single scans with noise inserted, every slice with its prior."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bioatt.anatomy import load_descriptor_set
from bioatt.errors import InputError
from bioatt.metrics import noise_sd
from bioatt.priors import AnatomicalPrior, build_prior
from bioatt.tomography import FAMILY, Kernel
from bioatt.volume import Volume, canonical
from bioatt_training.bank import DOSE
from bioatt_training.data import split as splits
from bioatt_training.data.pairs import check_pair, duplicates, matched
from bioatt_training.data.scans import Listing, Scan
from bioatt_training.data.writer import BankWriter
from bioatt_training.patches import noise_scale
from bioatt_training.simulate.insertion import insert_noise
from bioatt_training.simulate.scanner import Scanner

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """How a bank is made.

    split: a file, "patients" (at random) or "slices" (the paper's, which warns). realisations: noise drawn this often
    for a training slice without a low-dose partner, first with the scan's own kernel, then with random ones of the
    family. most_slices: taken evenly from each scan. prior: source of the priors. fast: noise from half the views.
    """

    split: str | Path = "patients"
    realisations: int = 1
    most_slices: int = 1_000_000
    prior: str = "embedded"
    descriptors: str = "paper17"
    fast: bool = False
    seed: int = 1


def prepare(listing: Listing, folder: Path, plan: Plan, *, say: Callable[[str], None] = log.info) -> int:
    """Write the bank of a listing's scans and return its number of slices.

    What cannot be used is added to `listing.left_out`. Raises InputError where nothing is left, or as `split`.
    """
    descriptors = load_descriptor_set(plan.descriptors)
    source = build_prior(plan.prior, descriptors=descriptors)
    patients = [scan.patient for scan in listing.scans]
    part_of: dict[str, str] = {}
    if isinstance(plan.split, Path):
        part_of = splits.from_file(plan.split, patients)
    elif plan.split == "patients":
        part_of = splits.by_patient(patients, seed=plan.seed)
    header = {
        "descriptor_set": descriptors.name,
        "descriptors": list(descriptors.descriptors),
        "prior": plan.prior,
        "dose_fraction": DOSE,
        "seed": plan.seed,
        "layout": listing.kind,
        "split": plan.split.name if isinstance(plan.split, Path) else plan.split,
        "left_out": listing.left_out,
    }
    with BankWriter(folder, header) as writer:
        seen: set[str] = set()
        for number, scan in enumerate(listing.scans):
            rng = np.random.default_rng([plan.seed, number])
            try:
                added = _add(writer, scan, part_of.get(scan.patient), plan, source, rng, seen, listing)
            except InputError as error:
                listing.leave_out(scan.name, str(error))
                continue
            say(f"{scan.name}: {added} slices, {part_of.get(scan.patient, 'by slice order')}")
        if not writer.slices:
            what, why = listing.left_out[-1] if listing.left_out else (listing.kind, "no slices")
            raise InputError(f"no scan could be used; the last, {what}: {why}")
        return len(writer.slices)


def _add(
    writer: BankWriter,
    scan: Scan,
    part: str | None,
    plan: Plan,
    source: AnatomicalPrior,
    rng: np.random.Generator,
    seen: set[str],
    listing: Listing,
) -> int:
    full = canonical(scan.full.read()).volume
    low_hu: np.ndarray | None = None
    if scan.low is not None:
        low = canonical(scan.low.read()).volume
        low_index, full_index, warnings = matched(low, full)
        for warning in warnings:
            listing.leave_out(scan.name, warning)
        full = _slices(full, full_index)
        low_hu = low.hu[low_index]
        check_pair(low_hu, full.hu)
    repeated = {*duplicates(full.slice_ids), *(k for k, name in enumerate(full.slice_ids) if name in seen)}
    if repeated:
        listing.leave_out(scan.name, f"{len(repeated)} slices that another slice repeats")
    seen.update(full.slice_ids)
    fresh = np.array([k for k in range(full.shape[0]) if k not in repeated], int)
    if not fresh.size:
        raise InputError("every slice is already in the bank: the scan is there twice")
    p = np.asarray(source.probabilities(full).p)
    parts = [part] * full.shape[0] if part else splits.by_slice_order(full.shape[0])
    kept = fresh[np.unique(np.linspace(0, len(fresh) - 1, min(plan.most_slices, len(fresh))).astype(int))]
    before = len(writer.slices)
    for realisation in range(1 if low_hu is not None or part in ("test", "validation") else plan.realisations):
        noise, kernel = _noise(scan, full, low_hu, kept, plan, realisation, rng)
        for k, extra in zip(kept, noise, strict=True):
            sigma = noise_sd(full.hu[k])
            about: dict[str, Any] = {
                "source": scan.name,
                "patient": scan.patient,
                "part": parts[k],
                "pixel_mm": full.pixel_mm,
                "thickness_mm": full.acquisition.slice_thickness_mm or scan.thickness_mm,
                "kernel": full.acquisition.kernel or scan.kernel or kernel,
                "noise_hu": float(sigma) if np.isfinite(sigma) else None,
                "slice_id": full.slice_ids[k],
                "spacing_mm": full.spacing[2],
            }
            writer.add(full.hu[k], extra, p[k], about)
    return len(writer.slices) - before


def _noise(
    scan: Scan,
    full: Volume,
    low_hu: np.ndarray | None,
    kept: np.ndarray,
    plan: Plan,
    realisation: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, str | None]:
    """Quarter-dose noise of the kept slices, and the kernel it was made with (None in a pair)."""
    if low_hu is not None:
        return (low_hu[kept] - full.hu[kept]) / noise_scale(scan.dose), None
    named = full.acquisition.kernel or scan.kernel
    choices: list[str | Kernel] = ["auto", *([named] if named else []), "B30"]
    if realisation:
        choices = [FAMILY[str(rng.choice(list(FAMILY)))]]
    stride = float(np.diff(kept).mean()) if len(kept) > 1 else 1.0
    seed = int(rng.integers(2**31))
    for choice in choices:
        try:
            result = insert_noise(
                full.hu[kept],
                full.pixel_mm,
                dose_fraction=DOSE,
                kernel=choice,
                rng=seed,
                slice_thickness_mm=full.acquisition.slice_thickness_mm or scan.thickness_mm,
                spacing_mm=full.spacing[2] * stride,
                scanner=Scanner().faster() if plan.fast else Scanner(),
            )
            return result.noise, None if result.kernel.name == "auto" else result.kernel.name
        except InputError as error:
            if "kernel" not in str(error) or choice == choices[-1]:
                raise
            log.info("%s, kernel %s: %s", scan.name, choice, error)
    raise AssertionError("the last choice returns or raises")


def _slices(volume: Volume, index: np.ndarray) -> Volume:
    """Some slices of a volume; their spacing is then only nominal."""
    return replace(volume, hu=volume.hu[index], slice_ids=tuple(volume.slice_ids[k] for k in index), sources=())
