"""Stacks of axial slices with quarter-dose noise: scans of the collection, their slabs, simulated torsos.

A stack keeps neighbouring slices together; `Stack.z` identifies those that touch. Created once and stored in a folder.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bioatt.core.canonical import canonical
from bioatt.core.errors import InputError
from bioatt.core.noise import noise_level
from bioatt.io.files import make_folder
from bioatt.io.images import read_volume
from bioatt.simulation.acquisition import Scanner, scan
from bioatt.simulation.phantom import TRAINING_SEEDS_FROM, torso
from bioatt.simulation.tomography import FAMILY, Geometry, Kernel, kernel_named
from bioatt_training.data.bank import DOSE
from bioatt_training.data.split import from_file
from bioatt_training.simulate.insertion import insert_noise
from bioatt_training.simulate.scanner import Scanner as Insertion
from bioatt_training.simulate.texture import estimate_kernel
from bioatt_training.simulate.tissue import slice_noise
from bioatt_training.slabs.pack import LARGEST_RESPONSE

log = logging.getLogger(__name__)

FARTHEST_MM = 4.0
"""Maximum distance of neighbours shown to the network."""
MOST_SIDE = 3
"""Maximum number of slices on either side of the middle one of a torso or an examined slab."""
RESPONSE_STEPS = 48
_KERNELS = ("B10", "B20", "B30", "B40", "B50", "B60", "D45", "B70", "LUNG")
_OUTSIDE_SPLIT = {"LIDC-IDRI-0002": "validation"}
"""The thin slab of the validation patients: steps of 1.25 mm."""


@dataclass(frozen=True)
class Stack:
    """n slices of one scan.

    hu, noise: int16 (n, y, x), noise of a quarter dose. z: (n,) slice number; |Δz| = 1 touch, step_mm apart. own_level,
    quarter_level: (n,) noise level at full and quarter dose, HU, NaN without tissue. response: (RESPONSE_STEPS,) of the
    kernel from 0 to LARGEST_RESPONSE cycles per pixel. correlation: between the noise of touching slices; NaN: drawn in
    training. part: train or validation.
    """

    name: str
    patient: str
    part: str
    hu: NDArray[np.int16]
    noise: NDArray[np.int16]
    z: NDArray[np.int64]
    own_level: NDArray[np.float32]
    quarter_level: NDArray[np.float32]
    response: NDArray[np.float32]
    step_mm: float
    pixel_mm: float
    thickness_mm: float
    correlation: float
    phantom: bool


@dataclass(frozen=True)
class Plan:
    """One scan to read: its file, slices, and table entries."""

    path: Path
    patient: str
    part: str
    kernel: str | None
    thickness_mm: float | None
    correlation: float
    most: int


def plans(data: Path, split: Path, wanted: Collection[str] = ("train", "validation")) -> list[Plan]:
    """Scans in the collection's folder that belong to patients of these parts.

    Raises InputError if the split cannot be read.
    """
    rows = list(_rows(data))
    parts, _ = from_file(split, [patient for _, patient, *_ in rows])
    found = []
    for path, patient, kernel, thickness, correlation in rows:
        part = _OUTSIDE_SPLIT.get(patient, parts[patient])
        if part not in wanted or not path.is_file():
            continue
        slab = path.parent.name == "slabs"
        most = (9 if slab else 16) if part == "train" else (9 if slab or "LIDC-0002" in path.name else 4)
        found.append(Plan(path, patient, part, kernel, thickness, correlation, most))
    return found


def _rows(data: Path) -> Iterator[tuple[Path, str, str | None, float | None, float]]:
    with (data / "slabs" / "slabs.csv").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            correlation = float(row["noise_correlation_of_neighbours"])
            yield data / row["file"], row["patient"], row["kernel"] or None, float(row["thickness_mm"]), correlation
    with (data / "slices.csv").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            yield data / row["file"], row["patient"], row["kernel"] or None, float(row["thickness_mm"] or "nan"), np.nan
    for line in (data / "SOURCES.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if cells and cells[0].startswith("volumes/"):
            yield data / cells[0], cells[1], cells[7] or None, float(cells[6]), 0.3


def read_stack(plan: Plan, seed: int) -> Stack:
    """A scan's slices with inserted noise. Raises InputError if the scan cannot be used."""
    full = canonical(read_volume(plan.path)).volume
    z = chosen(full.shape[0], full.spacing[2], plan.most)
    hu = np.clip(full.hu[z], -1024, 3071)
    kernel = kernel_of(hu, full.pixel_mm, plan.kernel)
    noise = insert_noise(
        hu,
        full.pixel_mm,
        dose_fraction=DOSE,
        kernel=kernel,
        rng=seed,
        scanner=Insertion().faster(),
    ).noise
    levels = [(noise_level(image), noise_level(image + extra)) for image, extra in zip(hu, noise, strict=True)]
    own, quarter = np.array(levels, np.float32).T
    return Stack(
        name=plan.path.stem,
        patient=plan.patient,
        part=plan.part,
        hu=np.rint(hu).astype(np.int16),
        noise=np.rint(noise).astype(np.int16),
        z=z,
        own_level=own,
        quarter_level=quarter,
        response=response(kernel, full.pixel_mm),
        step_mm=float(full.spacing[2]),
        pixel_mm=float(full.pixel_mm),
        thickness_mm=float(full.acquisition.slice_thickness_mm or plan.thickness_mm or full.spacing[2]),
        correlation=plan.correlation,
        phantom=False,
    )


def chosen(count: int, step_mm: float, most: int) -> NDArray[np.int64]:
    """Slices to take from a scan: single ones spread over it if its steps are wide, else groups of touching slices."""
    if count <= most:
        return np.arange(count)
    if step_mm > FARTHEST_MM:
        return np.unique(np.linspace(0, count - 1, most).astype(int))
    group = 3 if step_mm > FARTHEST_MM / 2 else most
    starts = np.linspace(0, count - group, max(most // group, 1)).astype(int)
    return np.unique((starts[:, None] + np.arange(group)).ravel())


def phantom_stack(number: int, seed: int = 1) -> Stack:
    """Touching slices of the simulated torso `number` with a noise-free scan: up to seven, over at most 8 mm."""
    body_seed = TRAINING_SEEDS_FROM + number
    rng = np.random.default_rng([seed, body_seed, 23])
    kernel = FAMILY[str(rng.choice(_KERNELS))]
    step = float(rng.choice([0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 5.0]))
    side = min(int(FARTHEST_MM / step), MOST_SIDE)
    count = 2 * side + 1
    thickness = step * float(rng.choice([1.0, 1.0, 1.5, 2.0]))
    start = float(rng.uniform(-230, 180))
    body, _ = torso(body_seed, count, z_range=(start, start + count * step), thickness_mm=thickness)
    scanner = Scanner(
        geometry=Geometry().coarser(views=2),
        kernel=kernel.name,
        noise_index=float(np.exp(rng.uniform(*np.log((6, 40))))),
    )
    clean, (low,) = scan(body, (DOSE,), scanner=scanner, seed=body_seed)
    noise = low.hu.astype(np.float32) - clean.hu
    quarter = np.array([noise_level(image) for image in low.hu], np.float32)
    return Stack(
        name=f"phantom-{body_seed}",
        patient=f"phantom-{body_seed}",
        part="train",
        hu=np.asarray(clean.hu, np.int16),
        noise=np.rint(noise).astype(np.int16),
        z=np.arange(count),
        own_level=np.zeros(count, np.float32),
        quarter_level=quarter,
        response=response(kernel, clean.pixel_mm),
        step_mm=step,
        pixel_mm=float(clean.pixel_mm),
        thickness_mm=thickness,
        correlation=np.nan,
        phantom=True,
    )


def kept(path: Path) -> Stack:
    """Read a stack that `keep` wrote."""
    with np.load(path) as file:
        held = {name: file[name] for name in file.files}
    return Stack(**{name: value.item() if value.ndim == 0 else value for name, value in held.items()})


def keep(path: Path, stack: Stack) -> None:
    """Write a stack atomically."""
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, allow_pickle=False, **{one.name: getattr(stack, one.name) for one in fields(stack)})
    partial.replace(path)


def make_stacks(data: Path, folder: Path, split: Path, phantoms: Sequence[int], seed: int = 1) -> list[Path]:
    """Files of all stacks in `folder`; creates missing ones. Unusable scans are logged."""
    make_folder(folder)
    paths = []
    for plan in plans(data, split):
        path = folder / f"{plan.path.parent.name}-{plan.path.stem}.npz"
        if not path.is_file():
            try:
                keep(path, read_stack(plan, seed))
                log.info("%s", path.stem)
            except InputError as error:
                log.warning("%s is left out: %s", plan.path.name, error)
                continue
        paths.append(path)
    for number in phantoms:
        path = folder / f"phantom-{number}.npz"
        if not path.is_file():
            keep(path, phantom_stack(number, seed))
            log.info("%s", path.stem)
        paths.append(path)
    return paths


def kernel_of(hu: NDArray[np.float32], pixel_mm: float, named: str | None) -> Kernel:
    """The kernel fitted to the noise, else the named one, else B30."""
    try:
        return estimate_kernel(hu, pixel_mm, slice_noise(hu))
    except InputError:
        pass
    try:
        return kernel_named(named or "B30")
    except InputError:
        return FAMILY["B30"]


def response(kernel: Kernel, pixel_mm: float) -> NDArray[np.float32]:
    """(RESPONSE_STEPS,) of a kernel from 0 to LARGEST_RESPONSE cycles per pixel."""
    return kernel.response(np.linspace(0, LARGEST_RESPONSE, RESPONSE_STEPS) / pixel_mm).astype(np.float32)
