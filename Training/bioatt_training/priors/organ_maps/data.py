"""Slices for the organ-map network: outlines, possible classes outside them, weak labels, phantom torsos."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bioatt.anatomy.descriptors import DescriptorSet
from bioatt.core.canonical import canonical
from bioatt.core.errors import InputError
from bioatt.io.images import read_volume
from bioatt.priors.organ_cells import CELL_MM, cell_count, to_cells
from bioatt.simulation.phantom import LABELS, TRAINING_SEEDS_FROM, torso
from bioatt_training.priors.labelled import label_ranges, patients_by_file, ranges_by_file
from bioatt_training.priors.organ_maps.slices import AIR_HU, FINE, GRID, OrganSlices
from bioatt_training.priors.rows import joined

PHANTOM_SLICES = 6
_PHANTOM_ORGANS = {
    "lungs": "lungs", "lung vessels": "lungs", "mediastinum": "mediastinum", "heart": "heart",
    "thoracic aorta": "thoracic aorta", "abdominal aorta": "abdominal aorta", "liver": "liver",
    "liver vessels": "liver", "liver lesion": "liver", "spleen": "spleen", "stomach": "stomach",
    "pancreas": "pancreas", "kidneys": "kidneys", "bowel": "bowel", "spine": "spine",
}  # fmt: skip
_UNSURE: dict[str, tuple[str, ...]] = {
    "antrum": ("stomach", "bowel"), "duodenum": ("bowel", "stomach"), "stomach": ("stomach",), "fundus": ("stomach",),
    "loop": ("bowel",), "bowel": ("bowel",), "colon": ("bowel",), "anal": ("bowel",),
    "aort": ("thoracic aorta", "abdominal aorta", "heart"), "arch": ("thoracic aorta", "mediastinum"),
    "heart": ("heart", "mediastinum"), "atri": ("heart", "mediastinum"), "cava": ("mediastinum", "heart"),
    "hilar": ("mediastinum", "lungs"), "vessels": ("mediastinum", "heart"), "mediastinum": ("mediastinum",),
    "kidney": ("kidneys",), "pancreas": ("pancreas",), "uncinate": ("pancreas",), "tail": ("pancreas", "spleen"),
    "caudate": ("liver",), "dome": ("liver", "spleen", "stomach"), "liver": ("liver",), "spleen": ("spleen",),
    "bladder": ("pelvis",), "uterus": ("pelvis",), "vagina": ("pelvis",), "femoral": ("pelvis",), "pelvic": ("pelvis",),
    "neck": ("neck",), "thyroid": ("neck", "mediastinum"), "vertex": ("skull", "brain"),
    "consolidation": ("lungs",), "collapse": ("lungs",), "effusion": ("lungs",),
}  # fmt: skip
"""Terms of the column `unsure` of masks.csv, and the organs that a pixel of 0 may then be."""
_UNSURE_ANYTHING = ("mass", "tumour", "unlabelled", "low contrast", "cyst cut")


@dataclass(frozen=True)
class Outline:
    """A row of masks.csv."""

    mask: str
    file: str
    slice: int
    patient: str
    unsure: str


def outlines(folder: Path) -> list[Outline]:
    """The outlined slices of the collection. Raises InputError if it has none."""
    table = folder / "masks" / "masks.csv"
    if not table.is_file():
        raise InputError(f"{folder.name} has no masks/masks.csv: give the CT collection with its organ outlines")
    with table.open(encoding="utf-8") as file:
        return [
            Outline(row["mask"], row["file"], int(row["slice"]), row["patient"], row["unsure"] or "")
            for row in csv.DictReader(file)
        ]


def load_slices(folder: Path, descriptors: DescriptorSet) -> OrganSlices:
    """All slices of the collection that are outlined or have organ ranges. Raises InputError for another folder."""
    by_file: dict[str, list[Outline]] = {}
    patients: dict[str, str] = {}
    for outline in outlines(folder):
        by_file.setdefault(outline.file, []).append(outline)
        patients[outline.file] = outline.patient
    ranges = ranges_by_file(folder)
    patients |= {name: patient for name, patient in patients_by_file(folder).items() if name in ranges}
    return joined(
        _file_slices(folder, name, patients[name], by_file.get(name, []), ranges.get(name), descriptors)
        for name in sorted(patients)
    )


def _file_slices(
    folder: Path,
    name: str,
    patient: str,
    outlined: list[Outline],
    ranges: list[tuple[str, int, int]] | None,
    descriptors: DescriptorSet,
) -> OrganSlices:
    oriented = canonical(read_volume(folder / name))
    volume = oriented.volume
    count, classes = volume.shape[0], len(descriptors) + 1
    labels = np.zeros(volume.shape, np.uint8)
    for outline in outlined:
        labels[outline.slice] = read_volume(folder / outline.mask, hu=False).hu[0]
    labels = oriented.apply(labels)
    drawn = np.stack([np.isin(np.arange(classes), plane) for plane in labels])[:, 1:]
    present, sure = drawn, drawn
    if ranges is not None:
        present, sure = label_ranges(ranges, count, descriptors)
        sure = sure & ~(drawn & ~present)
    possible = np.ones((count, classes), bool)
    possible[:, 1:] = present | ~sure
    for outline in outlined:
        hidden = hidden_classes(outline.unsure, descriptors)
        if ranges is not None:
            hidden[1:] |= (present | ~sure)[outline.slice] & ~drawn[outline.slice]
        bowel = descriptors.descriptors.index("bowel")
        hidden[1 + bowel] |= drawn[outline.slice, bowel]
        possible[outline.slice] = hidden
    rows = [k for k in range(count) if ranges is not None or labels[k].any()]
    spacing = volume.spacing[:2]
    return OrganSlices(
        images=np.stack([fine_image(volume.hu[k], spacing) for k in rows]),
        labels=np.stack([fine_labels(labels[k], spacing) for k in rows]),
        possible=possible[rows],
        present=present[rows],
        sure=sure[rows],
        outlined=np.isin(rows, [outline.slice for outline in outlined]),
        patients=np.full(len(rows), patient),
        files=np.full(len(rows), name),
        z=np.array(rows),
    )


def hidden_classes(unsure: str, descriptors: DescriptorSet, *, anything: bool = True) -> NDArray[np.bool_]:
    """(C,) classes that a cell of 0 may be on a slice with these remarks; none always.

    anything: if a mass was left out, a cell may be any class; otherwise only organs named in the remarks.
    """
    hidden = np.zeros(len(descriptors) + 1, bool)
    hidden[0] = True
    if anything and any(word in unsure for word in _UNSURE_ANYTHING):
        hidden[:] = True
    for word, organs in _UNSURE.items():
        if word in unsure:
            hidden[[1 + descriptors.descriptors.index(organ) for organ in organs]] = True
    return hidden


def fine_image(hu: NDArray[np.float32], spacing: tuple[float, float]) -> NDArray[np.float16]:
    """Slice (y, x) in HU → (GRID, GRID) training cells, centred and padded with air."""
    cells = to_cells(hu, spacing, CELL_MM / FINE)
    return _centred(cells, np.float16(AIR_HU)).astype(np.float16)


def fine_labels(labels: NDArray[np.uint8], spacing: tuple[float, float]) -> NDArray[np.uint8]:
    """Labels (y, x) → (GRID, GRID): the label at each training cell's centre."""
    rows, columns = (
        ((np.arange(cells) + 0.5) * (pixels / cells)).astype(int)
        for pixels, step in zip(labels.shape, spacing[::-1], strict=True)
        for cells in [cell_count(pixels, step, CELL_MM / FINE)]
    )
    return _centred(labels[np.ix_(rows, columns)], np.uint8(0))


def _centred(cells: NDArray, fill: np.generic) -> NDArray:
    """The central GRID × GRID of the array, padded if it is smaller."""
    out = np.full((GRID, GRID), fill, cells.dtype)
    here, there = [], []
    for size in cells.shape:
        first = max(0, (size - GRID) // 2)
        length = min(size, GRID)
        start = (GRID - length) // 2
        there.append(slice(first, first + length))
        here.append(slice(start, start + length))
    out[tuple(here)] = cells[tuple(there)]
    return out


def phantom_slices(count: int, descriptors: DescriptorSet, seed: int = 0) -> OrganSlices:
    """PHANTOM_SLICES slices of each of `count` random torsos, all outlined; only organs of the torso are known.

    Seeds start at TRAINING_SEEDS_FROM, so that no torso of the demo or the tests is used.
    """
    return joined(_phantom(TRAINING_SEEDS_FROM + seed + number, descriptors) for number in range(count))


def _phantom(seed: int, descriptors: DescriptorSet) -> OrganSlices:
    rng = np.random.default_rng([seed, 17])
    shift = rng.uniform(-35, 35)
    volume, painted = torso(seed, PHANTOM_SLICES, 240, z_range=(-230 + shift, 150 + shift), thickness_mm=3.0)
    table = np.zeros(max(LABELS.values()) + 1, np.uint8)
    for name, organ in _PHANTOM_ORGANS.items():
        table[LABELS[name]] = 1 + descriptors.descriptors.index(organ)
    labels = table[painted]
    present = np.stack([np.isin(np.arange(1, len(descriptors) + 1), plane) for plane in labels])
    possible = np.zeros((len(labels), len(descriptors) + 1), bool)
    possible[:, 0] = True
    spacing = volume.spacing[:2]
    return OrganSlices(
        images=np.stack([fine_image(hu, spacing) for hu in volume.hu]),
        labels=np.stack([fine_labels(plane, spacing) for plane in labels]),
        possible=possible,
        present=present,
        sure=np.ones_like(present),
        outlined=np.ones(len(labels), bool),
        patients=np.full(len(labels), f"phantom-{seed}"),
        files=np.full(len(labels), f"phantom-{seed}"),
        z=np.arange(len(labels)),
    )
