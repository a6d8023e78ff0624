"""A bank of training slices: targets, quarter-dose noise and priors, made once and mapped into memory.

Noise for another dose fraction a is the stored noise times √((1/a − 1) / 3), since inserted variance goes as 1/a − 1
(electronic noise apart). Targets are the scans themselves, whose own noise stays in the input; phantoms, mixed in, have
noise-free targets.
"""

from __future__ import annotations

import csv
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bioatt.acquisition import Scanner, scan
from bioatt.anatomy import load_descriptor_set
from bioatt.errors import InputError
from bioatt.metrics import noise_sd
from bioatt.phantom import TRAINING_SEEDS_FROM, torso
from bioatt.priors import build_prior
from bioatt.tomography import Geometry
from bioatt.volume import Volume, read_volume
from bioatt_training.simulate.insertion import insert_noise

DOSE = 0.25
SMOOTH_TO_SHARP = ("B10", "B20", "B30", "B40", "B50", "B60", "D45", "B70", "LUNG")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Slice:
    """One slice of the bank. offset: where its voxels begin in the bank's flat arrays."""

    source: str
    patient: str
    part: str
    pixel_mm: float
    thickness_mm: float | None
    kernel: str | None
    noise_hu: float | None
    offset: int
    shape: tuple[int, int]
    slice_id: str = ""
    spacing_mm: float | None = None


class Bank:
    """A bank on disk: `slices`, `prior` (slices, N), and voxels by slice."""

    def __init__(self, folder: Path) -> None:
        try:
            header = json.loads((folder / "bank.json").read_text(encoding="utf-8"))
        except OSError:
            raise InputError(f"{folder.name} is no bank of slices: make it with `bioatt-train bank`") from None
        self.header: dict[str, Any] = header
        self.slices = [Slice(**{**line, "shape": tuple(line["shape"])}) for line in header["slices"]]
        self.prior: NDArray[np.float32] = np.load(folder / "prior.npy")
        self._folder = folder

    @cached_property
    def _target(self) -> NDArray[np.int16]:
        return np.memmap(self._folder / "target.bin", np.int16, mode="r")

    @cached_property
    def _noise(self) -> NDArray[np.int16]:
        return np.memmap(self._folder / "noise.bin", np.int16, mode="r")

    def pair(self, index: int) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        """Target and quarter-dose noise of a slice, (y, x) HU, mapped."""
        one = self.slices[index]
        span = slice(one.offset, one.offset + one.shape[0] * one.shape[1])
        return self._target[span].reshape(one.shape), self._noise[span].reshape(one.shape)

    def indices(self, part: str) -> list[int]:
        """Slices of a part: train, validation or test."""
        return [index for index, one in enumerate(self.slices) if one.part == part]


@dataclass(frozen=True)
class Source:
    """A file of the collection and whom it is of."""

    path: Path
    patient: str
    kernel: str | None
    thickness_mm: float | None


def collection(folder: Path) -> Iterator[Source]:
    """The volumes (table of SOURCES.md) and single slices (slices.csv) of the shared CT collection."""
    try:
        lines = (folder / "SOURCES.md").read_text(encoding="utf-8").splitlines()
        rows = list(csv.DictReader((folder / "slices.csv").open(encoding="utf-8")))
    except OSError:
        raise InputError(f"{folder} is not the CT collection: it needs SOURCES.md and slices.csv") from None
    for line in lines:
        if re.match(r"\| volumes/\S+\.nrrd ", line):
            name, patient, _, _, _, _, thickness, kernel, *_ = (cell.strip() for cell in line.strip("| ").split("|"))
            yield Source(folder / name, patient, kernel or None, float(thickness))
    for row in rows:
        yield Source(folder / row["file"], row["patient"], row["kernel"] or None, float(row["thickness_mm"]))


def build_bank(
    data: Path, split: Path, folder: Path, *, phantoms: int, realisations: int, most_slices: int, seed: int
) -> None:
    """Write a bank: CT slices of `data` (patients parted by the file `split`) and slices of simulated phantoms.

    realisations: noise drawn this often per CT slice, first with the scan's own kernel, then with random ones.
    most_slices: taken evenly from each volume. phantoms: number of torsos, four slices each, training part only.
    """
    parts = json.loads(split.read_text(encoding="utf-8"))
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bank.json").unlink(missing_ok=True)  # written last: without it an interrupted bank is none
    descriptors = load_descriptor_set("paper17")
    embedded = build_prior("embedded", descriptors=descriptors)
    slices: list[Slice] = []
    priors: list[NDArray[np.float32]] = []
    with (folder / "target.bin").open("wb") as target_file, (folder / "noise.bin").open("wb") as noise_file:

        def add(volume: Volume, noise: NDArray[Any], p: NDArray[np.float32], source: Source, part: str) -> None:
            for k, hu in enumerate(volume.hu):
                sigma = float(noise_sd(hu))
                slices.append(
                    Slice(
                        source.path.name,
                        source.patient,
                        part,
                        volume.pixel_mm,
                        source.thickness_mm,
                        source.kernel,
                        sigma if np.isfinite(sigma) else None,
                        target_file.tell() // 2,
                        (hu.shape[0], hu.shape[1]),
                    )
                )
                priors.append(p[k])
                target_file.write(np.ascontiguousarray(hu, np.int16).tobytes())
                noise_file.write(np.clip(np.rint(noise[k]), -4000, 4000).astype(np.int16).tobytes())

        for source in collection(data):
            part = next((name for name in ("test", "validation") if source.patient in parts[name]), "train")
            volume = read_volume(source.path)
            p = embedded.probabilities(volume).p
            kept = np.unique(np.linspace(0, len(volume.hu) - 1, min(most_slices, len(volume.hu))).astype(int))
            chosen = Volume(volume.hu[kept], spacing=volume.spacing)
            for realisation in range(realisations if part == "train" else 1):
                kernel = "auto" if realisation == 0 else str(rng.choice(SMOOTH_TO_SHARP))
                seed_here = int(rng.integers(2**31))
                noise = _inserted(chosen, kernel, seed_here, source)
                if noise is not None:
                    add(chosen, noise, np.asarray(p)[kept], source, part)
            log.info("%s: %d slices, %s", source.path.name, len(kept), part)
        for number in range(phantoms):
            add(*_phantom(TRAINING_SEEDS_FROM + number, rng, embedded), "train")
    np.save(folder / "prior.npy", np.stack(priors))
    header = {
        "descriptor_set": descriptors.name,
        "descriptors": list(descriptors.descriptors),
        "prior": "embedded",
        "dose_fraction": DOSE,
        "seed": seed,
        "slices": [asdict(one) for one in slices],
    }
    (folder / "bank.json").write_text(json.dumps(header, indent=0), encoding="utf-8")


def _inserted(volume: Volume, kernel: str, seed: int, source: Source) -> NDArray[np.float32] | None:
    """Quarter-dose noise of the slices; with the header's kernel where the scan cannot tell; or None."""
    for choice in (kernel, source.kernel or "B30"):
        try:
            return insert_noise(volume.hu, volume.pixel_mm, dose_fraction=DOSE, kernel=choice, rng=seed).noise
        except InputError as error:
            log.warning("%s, kernel %s: %s", source.path.name, choice, error)
    return None


def _phantom(
    seed: int, rng: np.random.Generator, embedded: Any
) -> tuple[Volume, NDArray[Any], NDArray[np.float32], Source]:
    """Four slices of a random torso: noise-free reconstruction, its quarter-dose noise, the prior seen at low dose."""
    kernel = str(rng.choice(SMOOTH_TO_SHARP))
    body, _ = torso(seed, 4, thickness_mm=float(rng.choice([1.5, 3.0, 5.0])))
    scanner = Scanner(geometry=Geometry().coarser(views=2), kernel=kernel, noise_index=float(rng.uniform(8, 30)))
    clean, (low,) = scan(body, (DOSE,), scanner=scanner, seed=seed)
    p = np.asarray(embedded.probabilities(low).p)
    noise = low.hu.astype(np.float32) - clean.hu
    return clean, noise, p, Source(Path(f"phantom-{seed}"), f"phantom-{seed}", kernel, None)
