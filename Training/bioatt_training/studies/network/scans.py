"""Scans for examining a network: held-out patients with inserted quarter-dose noise, and simulated torsos.

Created once and stored in a folder.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bioatt.core.canonical import canonical
from bioatt.core.errors import InputError
from bioatt.core.hu import CLIP_HU
from bioatt.core.volume import Volume
from bioatt.io.files import atomic_write
from bioatt.io.images import read_volume
from bioatt.simulation.acquisition import Scanner, scan
from bioatt.simulation.phantom import torso
from bioatt.simulation.tomography import FAMILY, Geometry
from bioatt_training.data.bank import DOSE, noise_scale
from bioatt_training.simulate.insertion import insert_noise
from bioatt_training.simulate.scanner import Scanner as Insertion
from bioatt_training.simulate.texture import radial_nps
from bioatt_training.slabs.stacks import FARTHEST_MM, MOST_SIDE, Plan, kernel_of, response
from bioatt_training.studies.benchmark.truth import sharpness

log = logging.getLogger(__name__)

REALISATIONS = 2
TORSOS = ((301, -70.0, "B30"), (302, 40.0, "B50"), (303, -130.0, "B40"))
"""Seed, lowest position (mm above the diaphragm) and kernel; training uses other seeds."""
STEPS_MM = (0.94, 1.25, 2.0, 3.0, 5.0)
STEP_CLASSES = ("up to 1.5 mm", "2 to 3 mm", "5 mm")
_OVERLAP = 1.05
_APART = 1000
"""Offset between the seeds of two realisations."""


@dataclass(frozen=True)
class Scan:
    """Touching slices of one scan.

    hu: int16 (n, y, x), as scanned; noise-free for a torso. noise: int16 (r, n, y, x), r realisations of the noise
    added at quarter dose, independent between slices. middle: the examined slice. sharpness: class of the kernel.
    response: of the kernel, see `slabs.stacks.response`.
    """

    name: str
    patient: str
    hu: NDArray[np.int16]
    noise: NDArray[np.int16]
    middle: int
    pixel_mm: float
    step_mm: float
    thickness_mm: float
    sharpness: str
    response: NDArray[np.float32]

    @property
    def truth(self) -> NDArray[np.int16]:
        """The examined slice (y, x) without the added noise."""
        return self.hu[self.middle]

    @property
    def volume(self) -> Volume:
        """As scanned."""
        return self._volume(self.hu)

    def low(self, realisation: int = 0, dose: float = DOSE, added: NDArray | float = 0) -> Volume:
        """At a dose fraction of up to 1, as float32; added: HU to add to the body, (n, y, x)."""
        noisy = self.hu + added + self.noise[realisation] * noise_scale(dose)
        return self._volume(np.clip(noisy, *CLIP_HU).astype(np.float32))

    def _volume(self, hu: NDArray) -> Volume:
        return Volume(hu, spacing=(self.pixel_mm, self.pixel_mm, self.step_mm))


def single_slices(plans: Sequence[Plan], folder: Path, most: int) -> Iterator[Scan]:
    """The middle slice of up to `most` scans of each patient."""
    by_patient: dict[str, list[Plan]] = {}
    for plan in plans:
        if plan.path.parent.name != "slabs":
            by_patient.setdefault(plan.patient, []).append(plan)
    for found in by_patient.values():
        for place in spread(range(len(found)), most):
            yield from _of_plan(found[place], folder, "slice", 1, 0)


def slabs(plans: Sequence[Plan], folder: Path, most: int, files: int | None = None) -> Iterator[Scan]:
    """Slices with those beside them, at up to `most` positions of a file with touching slices.

    Means over 5 mm need more of them than the network takes. files: per class of slice spacing, None for all.
    """
    used: Counter[str] = Counter()
    for plan in plans:
        kind = plan.path.parent.name
        if kind in ("slabs", "volumes"):
            enough = [name for name, count in used.items() if files and count >= files]
            found = list(_of_plan(plan, folder, "slab", 1 if kind == "slabs" else most, MOST_SIDE, enough))
            used.update({step_class(one.step_mm) for one in found})
            yield from found


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """Up to `count` items, the middles of equal parts."""
    return list(items) if len(items) <= count else [items[int((k + 0.5) * len(items) / count)] for k in range(count)]


def step_class(step_mm: float) -> str:
    """Class of a slab by its slice spacing."""
    return STEP_CLASSES[0 if step_mm <= 1.5 else 1 if step_mm <= 3.2 else 2]


def torsos(folder: Path, count: int, steps: Sequence[float] = STEPS_MM, size: int = 512) -> Iterator[Scan]:
    """`count` simulated torsos per slice spacing."""
    for step in steps:
        for seed, start, kernel in TORSOS[:count]:
            name = f"torso-{seed}-{step:g}-{size}"
            yield _kept(folder / f"{name}.npz", lambda: _torso(name, seed, start, kernel, step, size))  # noqa: B023


def _of_plan(plan: Plan, folder: Path, kind: str, most: int, side: int, enough: Collection[str] = ()) -> Iterator[Scan]:
    """Up to `most` positions of a scan, with neighbours if `side` is not 0. Empty for unusable scans, and for classes
    of slice spacing that already have enough.
    """
    try:
        full = canonical(read_volume(plan.path)).volume
        thickness = float(plan.thickness_mm or full.spacing[2])
        apart = len(full.hu) < 3 or full.spacing[2] > _OVERLAP * thickness
        if side and (apart or step_class(full.spacing[2]) in enough):
            return
        reach = max(min(side, int(FARTHEST_MM / full.spacing[2])), 1) if side else 0
        for middle in spread(range(len(full.hu)), most):
            z = range(max(middle - reach, 0), min(middle + reach + 1, len(full.hu)))
            path = folder / f"{kind}-{plan.path.stem}-{middle}.npz"
            yield _kept(path, lambda: _noisy(path.stem, plan, full, z, middle - z.start, thickness))  # noqa: B023
    except InputError as error:
        log.warning("%s is left out: %s", plan.path.name, error)


def _noisy(name: str, plan: Plan, full: Volume, z: range, middle: int, thickness_mm: float) -> Scan:
    hu = np.clip(full.hu[z.start : z.stop], *CLIP_HU)
    kernel = kernel_of(hu, full.pixel_mm, plan.kernel)
    inserted = [
        insert_noise(hu, full.pixel_mm, dose_fraction=DOSE, kernel=kernel, rng=seed, scanner=Insertion().faster()).noise
        for seed in range(REALISATIONS)
    ]
    frequency, power = radial_nps(inserted[0][middle], full.pixel_mm, hu[middle] > -300)
    return Scan(
        name=name,
        patient=plan.patient,
        hu=np.rint(hu).astype(np.int16),
        noise=np.rint(inserted).astype(np.int16),
        middle=middle,
        pixel_mm=full.pixel_mm,
        step_mm=float(full.spacing[2]),
        thickness_mm=thickness_mm,
        sharpness=sharpness(float(np.average(frequency, weights=power))),
        response=response(kernel, full.pixel_mm),
    )


def _torso(name: str, seed: int, start: float, kernel: str, step: float, size: int) -> Scan:
    side = max(min(MOST_SIDE, int(FARTHEST_MM / step)), 1)
    count = 2 * side + 1
    stretch = torso(seed, 1, 16, z_range=(0.0, 1.0))[0].spacing[2]  # of this body along z
    body, _ = torso(seed, count, size, z_range=(start, start + count * step / stretch), thickness_mm=step)
    scanner = Scanner(geometry=Geometry().coarser(views=2), kernel=kernel)
    taken = [scan(body, (DOSE,), scanner=scanner, seed=seed + _APART * r) for r in range(REALISATIONS)]
    clean = taken[0][0]
    return Scan(
        name=name,
        patient=f"torso-{seed}",
        hu=clean.hu,
        noise=np.stack([low.hu - clean.hu for _, (low,) in taken]),
        middle=side,
        pixel_mm=clean.pixel_mm,
        step_mm=step,
        thickness_mm=step,
        sharpness=kernel,
        response=response(FAMILY[kernel], clean.pixel_mm),
    )


def _kept(path: Path, make: Callable[[], Scan]) -> Scan:
    """The scan in a file, created if missing."""
    if not path.is_file():
        made = make()
        with atomic_write(path) as partial, partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **{one.name: getattr(made, one.name) for one in fields(made)})
        log.info("%s", path.stem)
    with np.load(path) as file:
        held = {name: file[name] for name in file.files}
    return Scan(**{name: value.item() if value.ndim == 0 else value for name, value in held.items()})
