"""From folders of scans to a bank: pairs, single scans with inserted noise, and the prior of every slice."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.core.canonical import canonical
from bioatt.core.errors import InputError, SeveralVolumesError
from bioatt.core.noise import noise_sd
from bioatt.core.volume import Volume
from bioatt.priors import AnatomicalPrior, build_prior
from bioatt.simulation.tomography import FAMILY, Kernel, kernel_named
from bioatt_training.data import split as splits
from bioatt_training.data.bank import DOSE, noise_scale
from bioatt_training.data.pairs import check_pair, duplicates, matched
from bioatt_training.data.scans import Listing, Scan
from bioatt_training.data.writer import BankWriter
from bioatt_training.simulate.insertion import insert_noise
from bioatt_training.simulate.scanner import Scanner
from bioatt_training.simulate.targets import softened
from bioatt_training.simulate.texture import estimate_kernel
from bioatt_training.simulate.tissue import slice_noise

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """Options for creating a bank.

    split: a file, "patients" (at random) or "slices" (the paper's, with a warning). most_slices: per scan, evenly
    spaced. target: the kernel that softens a scan into the target, None for the scan itself. prior: source of the
    priors. fast: noise from half the views.
    """

    split: str | Path = "patients"
    most_slices: int = 1_000_000
    target: Kernel | None = None
    prior: str = "maps"
    descriptors: str = "paper17"
    fast: bool = False
    seed: int = 1


def prepare(listing: Listing, folder: Path, plan: Plan, *, say: Callable[[str], None] = log.info) -> int:
    """Write the bank of a listing's scans and return its number of slices; resumes after an interruption.

    Unusable scans are added to `listing.left_out`. Raises InputError if nothing is left, and the errors of `split`.
    """
    descriptors = load_descriptor_set(plan.descriptors)
    source = build_prior(plan.prior, descriptors=descriptors)
    patients = [scan.patient for scan in listing.scans]
    part_of: dict[str, str] = {}
    if isinstance(plan.split, Path):
        part_of, unknown = splits.from_file(plan.split, patients)
        if unknown:
            listing.leave_out(plan.split.name, f"{unknown} of its patients have no scan here")
    elif plan.split == "patients":
        part_of = splits.by_patient(patients, seed=plan.seed)
    header = {
        "descriptor_set": descriptors.name,
        "descriptors": list(descriptors.descriptors),
        "prior": plan.prior,
        "dose_fraction": DOSE,
        "target": f"softened:{plan.target.name}" if plan.target else "scan",
        "seed": plan.seed,
        "layout": listing.kind,
        "split": plan.split.name if isinstance(plan.split, Path) else plan.split,
        "left_out": listing.left_out,
    }
    work = hashlib.sha256(repr((plan, part_of, listing.scans)).encode()).hexdigest()
    with BankWriter(folder, header, softened=plan.target is not None, work=work) as writer:
        seen: set[str] = set()
        for number, scan in enumerate(listing.scans):
            name, known, before = f"{number} {scan.name}", len(listing.left_out), frozenset(seen)
            if name in writer.done:
                listing.left_out += [(what, why) for what, why in writer.done[name]["left_out"]]
                seen.update(writer.done[name]["seen"])
                continue
            rng = np.random.default_rng([plan.seed, number])
            part = part_of.get(scan.patient)
            for one, added in _add_each(writer, scan, part, plan, source, rng, seen, listing):
                say(f"{one.name}: {added} slices, {part or 'by slice order'}")
            writer.finish(name, {"left_out": listing.left_out[known:], "seen": sorted(seen - before)})
        if not writer.slices:
            what, why = listing.left_out[-1] if listing.left_out else (listing.kind, "no slices")
            raise InputError(f"no scan could be used; the last, {what}: {why}")
        return len(writer.slices)


def _add_each(writer: BankWriter, scan: Scan, *how: Any) -> Iterator[tuple[Scan, int]]:
    """Add a scan, or each volume in its sources separately: (scan, slices). Unusable volumes are left out.

    how: the remaining arguments of `_add_scan`, the listing last.
    """
    try:
        yield scan, _add_scan(writer, scan, *how)
    except SeveralVolumesError as error:
        for number in range(1, len(error.volumes) + 1):
            yield from _add_each(writer, scan.of_phase(number), *how)
    except InputError as error:
        how[-1].leave_out(scan.name, str(error))


def _add_scan(
    writer: BankWriter,
    scan: Scan,
    part: str | None,
    plan: Plan,
    source: AnatomicalPrior,
    rng: np.random.Generator,
    seen: set[str],
    listing: Listing,
) -> int:
    full, low_hu, warnings = _read(scan)
    for warning in warnings:
        listing.leave_out(scan.name, warning)
    repeated = {*duplicates(full.slice_ids), *(k for k, name in enumerate(full.slice_ids) if name in seen)}
    if repeated:
        listing.leave_out(scan.name, f"{len(repeated)} duplicate slices")
    seen.update(full.slice_ids)
    fresh = np.array([k for k in range(full.shape[0]) if k not in repeated], int)
    if not fresh.size:
        raise InputError("every slice is already in the bank: the scan is a duplicate")
    p = np.asarray(source.probabilities(full).p)
    parts = np.array([part] * full.shape[0] if part else splits.by_slice_order(full.shape[0]))
    kept = fresh[np.unique(np.linspace(0, len(fresh) - 1, min(plan.most_slices, len(fresh))).astype(int))]
    thickness_mm = full.acquisition.slice_thickness_mm or scan.thickness_mm
    named = full.acquisition.kernel or scan.kernel
    own = _own_kernel(full.hu[kept], full.pixel_mm, named) if low_hu is None or plan.target else FAMILY["B30"]
    if low_hu is None:
        noise = _inserted(full, kept, thickness_mm, own, plan, rng)
    else:
        noise = (low_hu[kept] - full.hu[kept]) / noise_scale(scan.dose)
    targets = softened(full.hu[kept], full.pixel_mm, own, plan.target) if plan.target else [None] * len(kept)
    for k, extra, target in zip(kept, noise, targets, strict=True):
        about = _about(full, k) | {"source": scan.name, "patient": scan.patient, "part": str(parts[k])}
        writer.add(full.hu[k], extra, p[k], about | {"thickness_mm": thickness_mm, "kernel": named}, target)
    return len(kept)


def _read(scan: Scan) -> tuple[Volume, np.ndarray | None, list[str]]:
    """The full dose (canonical), the slice-matched low dose of a pair, in HU, and warnings. Raises InputError."""
    full = canonical(scan.full.read()).volume
    if scan.low is None:
        return full, None, []
    low = canonical(scan.low.read()).volume
    low_index, full_index, warnings = matched(low, full)
    full = _slices(full, full_index)
    check_pair(low.hu[low_index], full.hu)
    return full, low.hu[low_index], warnings


def _about(volume: Volume, k: int) -> dict[str, Any]:
    """Properties of a slice derived from its voxels and geometry."""
    sigma = noise_sd(volume.hu[k])
    return {
        "pixel_mm": volume.pixel_mm,
        "spacing_mm": volume.spacing[2],
        "slice_id": volume.slice_ids[k],
        "noise_hu": float(sigma) if np.isfinite(sigma) else None,
    }


def _own_kernel(hu: np.ndarray, pixel_mm: float, named: str | None) -> Kernel:
    """The kernel fitted to the noise of the slices hu (z, y, x), else the named one, else B30."""
    try:
        return estimate_kernel(hu, pixel_mm, slice_noise(hu))
    except InputError as error:
        log.info("using kernel %s instead of a measured one: %s", named or "B30", error)
    try:
        return kernel_named(named or "B30")
    except InputError as error:
        log.info("using B30: %s", error)
        return FAMILY["B30"]


def _inserted(
    full: Volume, kept: np.ndarray, thickness_mm: float | None, kernel: Kernel, plan: Plan, rng: np.random.Generator
) -> np.ndarray:
    """Quarter-dose noise of the kept slices (z, y, x) HU."""
    stride = float(np.diff(kept).mean()) if len(kept) > 1 else 1.0
    return insert_noise(
        full.hu[kept],
        full.pixel_mm,
        dose_fraction=DOSE,
        kernel=kernel,
        rng=int(rng.integers(2**31)),
        slice_thickness_mm=full.acquisition.slice_thickness_mm or thickness_mm,
        spacing_mm=full.spacing[2] * stride,
        scanner=Scanner().faster() if plan.fast else Scanner(),
    ).noise


def _slices(volume: Volume, index: np.ndarray) -> Volume:
    """Some slices of a volume; their spacing is only nominal."""
    return replace(volume, hu=volume.hu[index], slice_ids=tuple(volume.slice_ids[k] for k in index), sources=())
