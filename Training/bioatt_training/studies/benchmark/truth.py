"""Cases with a reference: scans of held-out patients with inserted noise, and simulated scans of phantoms.

The reference of patients is the full-dose scan, whose own noise is indistinguishable from the inserted noise; that of
phantoms is noise-free.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bioatt.core.errors import InputError
from bioatt.core.hu import CLIP_HU
from bioatt.core.volume import Volume
from bioatt.io.files import atomic_write
from bioatt.simulation.acquisition import Scanner, scan
from bioatt.simulation.phantom import TRAINING_SEEDS_FROM, torso
from bioatt.simulation.tomography import Geometry
from bioatt_training.data.bank import Bank, noise_scale
from bioatt_training.simulate.texture import radial_nps
from bioatt_training.studies.benchmark.images import Image

Slice = NDArray[np.int16]

SHARPNESS = ("soft", "medium", "sharp")
LIMITS_PER_MM = (0.22, 0.31)
"""Limits of the mean noise frequency between soft, medium and sharp kernels."""
KERNELS = {"soft": "B20", "medium": "B40", "sharp": "B60"}
"""Kernels of the phantoms' scans."""
REGIONS = {
    "head": ("skull", "brain"),
    "neck": ("neck", "shoulders"),
    "chest": ("lungs", "mediastinum", "heart", "thoracic aorta"),
    "abdomen": ("liver", "spleen", "stomach", "pancreas", "kidneys", "abdominal aorta"),
    "pelvis": ("pelvis",),
}
"""Prior descriptors by region; spine and bowel belong to several."""
OWN = 0.5
"""Dose at which the inserted noise equals the scan's own."""


@dataclass(frozen=True)
class Case:
    """A slice with a reference (truth). `at(dose)` is the slice at a fraction of full dose.

    seen: whether the patient is in the training part. own_noise (y, x) HU: a new realisation of the full-dose scan's
    noise; None for phantoms.
    """

    key: str
    patient: str
    region: str
    sharpness: str
    pixel_mm: float
    thickness_mm: float
    truth: Slice
    at: Callable[[float], Slice]
    own_noise: Callable[[], NDArray[np.float32]] | None = None
    seen: bool = False

    def image(self, dose: float) -> Image:
        """The input of a denoiser."""
        return Image(self.at(dose), self.pixel_mm, self.thickness_mm)


def patients(bank: Bank, part: str) -> dict[str, list[int]]:
    """Slices of a bank's part by patient."""
    found: dict[str, list[int]] = {}
    for index in bank.indices(part):
        found.setdefault(bank.slices[index].patient, []).append(index)
    return dict(sorted(found.items()))


def bank_case(bank: Bank, index: int, *, seen: bool = False) -> Case:
    """The case of a bank's slice."""
    one = bank.slices[index]

    def at(dose: float) -> Slice:
        target, noise = bank.pair(index)
        return np.clip(np.rint(target + noise * noise_scale(dose)), *CLIP_HU).astype(np.int16)

    return Case(
        key=f"{one.source}/{one.offset}",
        patient=one.patient,
        region=region(bank.header["descriptors"], bank.prior[index]),
        sharpness=sharpness(mean_frequency(bank, index)),
        pixel_mm=one.pixel_mm,
        thickness_mm=one.thickness_mm or 5.0,
        truth=np.asarray(bank.pair(index)[0]),
        at=at,
        own_noise=lambda: bank.pair(index)[1] * noise_scale(OWN),
        seen=seen,
    )


def region(descriptors: Sequence[str], p: NDArray[np.float32]) -> str:
    """The region whose best descriptor has the largest probability in the prior p (N,)."""
    best = {
        name: max((float(p[descriptors.index(word)]) for word in words if word in descriptors), default=0.0)
        for name, words in REGIONS.items()
    }
    return max(best, key=lambda name: best[name])


def mean_frequency(bank: Bank, index: int) -> float:
    """Mean frequency (1/mm) of the slice's inserted noise, whose kernel is the scan's own."""
    target, noise = bank.pair(index)
    frequency, power = radial_nps(np.asarray(noise, np.float32), bank.slices[index].pixel_mm, np.asarray(target) > -300)
    return float(np.average(frequency, weights=power))


def sharpness(frequency: float) -> str:
    """Class of a kernel by the mean frequency (1/mm) of its noise."""
    return SHARPNESS[sum(frequency >= limit for limit in LIMITS_PER_MM)]


def phantom_cases(
    seeds: Sequence[int], doses: Sequence[float], folder: Path, *, size: int = 512, slices: int = 2
) -> list[Case]:
    """Torsos scanned with each of `KERNELS` at each dose, from below the diaphragm to above it.

    Scans are stored in `folder`. Raises InputError for seeds that training may have used.
    """
    if any(seed >= TRAINING_SEEDS_FROM for seed in seeds):
        raise InputError(f"evaluation phantoms need seeds below {TRAINING_SEEDS_FROM}: training uses the others")
    cases = []
    for seed in seeds:
        for name, kernel in KERNELS.items():
            scans, pixel_mm = phantom_scan(seed, kernel, doses, folder, size=size, slices=slices)
            for k in range(slices):
                cases.append(
                    Case(
                        key=f"torso-{seed}-{size}-{slices}/{kernel}/{k}",
                        patient=f"torso-{seed}",
                        region="abdomen" if k < slices / 2 else "chest",
                        sharpness=name,
                        pixel_mm=pixel_mm,
                        thickness_mm=5.0,
                        truth=scans["truth"][k],
                        at=lambda dose, scans=scans, k=k: scans[f"{dose:g}"][k],  # type: ignore[misc]
                    )
                )
    return cases


def phantom_scan(
    seed: int, kernel: str, doses: Sequence[float], folder: Path, *, size: int, slices: int, repeats: int = 1
) -> tuple[dict[str, Slice], float]:
    """{"truth", dose: (slices * repeats, y, x)} of a torso, each slice scanned `repeats` times consecutively; pixel in
    mm.
    """
    name = f"torso-{seed}-{size}-{slices}-{repeats}-{kernel}-{'-'.join(f'{dose:g}' for dose in doses)}.npz"

    def body() -> Volume:
        volume = _torso(seed, slices, size)
        return Volume(np.repeat(volume.hu, repeats, axis=0), spacing=volume.spacing)

    return scanned(body, kernel, doses, folder / name, seed=seed)


@lru_cache(maxsize=1)
def _torso(seed: int, slices: int, size: int) -> Volume:
    """Cached, since each torso is scanned with every kernel."""
    return torso(seed, slices, size, z_range=(-110.0, 110.0))[0]


def scanned(
    body: Callable[[], Volume], kernel: str, doses: Sequence[float], path: Path, *, seed: int
) -> tuple[dict[str, Slice], float]:
    """{"truth", dose: (z, y, x)} of a body, kept at `path`, and the pixel in mm."""
    if not path.is_file():
        volume = body()
        geometry = Geometry() if volume.shape[1] > 256 else Geometry().coarser(views=2)
        truth, low = scan(volume, doses, scanner=Scanner(geometry=geometry, kernel=kernel), seed=seed)
        arrays: dict[str, Any] = {f"{dose:g}": one.hu for dose, one in zip(doses, low, strict=True)}
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as partial:
            np.savez(partial, truth=truth.hu, pixel_mm=volume.pixel_mm, **arrays)
    with np.load(path) as kept:
        return {name: kept[name] for name in kept.files if name != "pixel_mm"}, float(kept["pixel_mm"])
