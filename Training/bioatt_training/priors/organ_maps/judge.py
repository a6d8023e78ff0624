"""Evaluate organ maps on held-out patients: Dice, recall and noise by organ, AUC of maps and presence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bioatt.anatomy.descriptors import ANATOMY_SET, DescriptorSet, load_descriptor_set
from bioatt.anatomy.measure import measure_organs
from bioatt.core.canonical import canonical
from bioatt.core.volume import Volume
from bioatt.io.images import read_volume
from bioatt.priors.organ_cells import BODY_ABOVE_HU
from bioatt.priors.organ_maps import OrganMapPrior
from bioatt_training.evaluation.statistics import area_under_roc
from bioatt_training.priors.labelled import label_ranges, patients_by_file, ranges_by_file
from bioatt_training.priors.organ_maps.data import hidden_classes, outlines

_EVERY_PIXEL = 4
"""Subsampling of pixels along each axis for the maps' AUC."""


class Scan(NamedTuple):
    """A file: its canonical volume, the outlines by slice (labels, hidden classes), presence and its certainty (slices,
    N), both None if no organ ranges are known.
    """

    name: str
    patient: str
    volume: Volume
    outlined: dict[int, tuple[NDArray[np.uint8], NDArray[np.bool_]]]
    presence: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None

    def rows(self, rows: Sequence[int]) -> Volume:
        """Only these slices; their distance is no longer meaningful."""
        ids = tuple(self.volume.slice_ids[z] for z in rows)
        return replace(self.volume, hu=self.volume.hu[rows], slice_ids=ids, sources=())

    def only_outlined(self) -> Scan:
        """The scan with only its outlined slices."""
        rows = sorted(self.outlined)
        volume = self.rows(rows)
        presence = None if self.presence is None else (self.presence[0][rows], self.presence[1][rows])
        return self._replace(
            volume=volume, outlined={k: self.outlined[z] for k, z in enumerate(rows)}, presence=presence
        )


@dataclass(frozen=True)
class Judgement:
    """Metrics by patient (rows of `patients`) and descriptor, NaN if a patient's outlines lack the organ.

    dice, recall: of the most probable class, the patient's slices pooled. auc: of the organ's map for its outline, over
    the body's pixels of slices that show it. noise_ratio: noise within the maps' organ relative to that within its
    outline (`bioatt.anatomy.measure`), mean over the patient's slices in which both are homogeneous. wrong_cm2: mean
    area per slice assigned to an organ that the slice's outlines do not contain. presence_auc: (N,) over slices of
    known presence, all patients.
    """

    descriptors: tuple[str, ...]
    patients: tuple[str, ...]
    dice: NDArray[np.float64]
    recall: NDArray[np.float64]
    auc: NDArray[np.float64]
    noise_ratio: NDArray[np.float64]
    wrong_cm2: NDArray[np.float64]
    presence_auc: NDArray[np.float64]
    presence_gap: NDArray[np.float64]
    slices: int
    presence_slices: int

    def mean(self, figure: NDArray[np.float64], without: Sequence[str] = ()) -> NDArray[np.float64]:
        """(N,) mean over the patients with a value, excluding those named."""
        return _mean_known(figure[[patient not in without for patient in self.patients]])

    def count(self, without: Sequence[str] = ()) -> NDArray[np.int64]:
        """(N,) number of patients whose outlines contain the organ."""
        kept = np.array([patient not in without for patient in self.patients])
        return (~np.isnan(self.dice[kept])).sum(axis=0)


def scans_of(folder: Path, patients: Sequence[str], descriptors: DescriptorSet) -> Iterator[Scan]:
    """The collection's files of these patients that have outlines or organ ranges."""
    owner = {outline.file: outline.patient for outline in outlines(folder)}
    ranges = ranges_by_file(folder)
    owner |= {name: patient for name, patient in patients_by_file(folder).items() if name in ranges}
    for name in sorted(name for name, patient in owner.items() if patient in patients):
        oriented = canonical(read_volume(folder / name))
        outlined = {}
        for outline in outlines(folder):
            if outline.file == name:
                labels = np.zeros(oriented.volume.shape, np.uint8)
                labels[outline.slice] = read_volume(folder / outline.mask, hu=False).hu[0]
                labels = oriented.apply(labels)
                hidden = hidden_classes(outline.unsure, descriptors, anything=False)
                outlined[int(np.flatnonzero(labels.any(axis=(1, 2)))[0])] = labels.max(axis=0), hidden
        known = ranges.get(name)
        count = oriented.volume.shape[0]
        yield Scan(
            name,
            owner[name],
            oriented.volume,
            outlined,
            None if known is None else label_ranges(known, count, descriptors),
        )


def judge(prior: OrganMapPrior, scans: Iterator[Scan], descriptors: DescriptorSet) -> Judgement:
    """Evaluate the prior's maps of these scans."""
    n = len(descriptors)
    sums: dict[str, NDArray[np.float64]] = {}
    pixels: dict[tuple[str, int], list[tuple[NDArray[np.float32], NDArray[np.bool_]]]] = {}
    seen: list[tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]] = []
    ratios: dict[str, list[NDArray[np.float64]]] = {}
    slices = 0
    for scan in scans:
        maps = prior.maps(scan.volume)
        for z, (labels, hidden) in scan.outlined.items():
            found = sums.setdefault(scan.patient, np.zeros((5, n)))
            found += _overlaps(maps.labels(z), labels, hidden, scan.volume.pixel_mm)
            ratios.setdefault(scan.patient, []).append(_noise_ratio(maps.labels(z), labels, scan.rows([z])))
            slices += 1
            for column, part in _scores(maps.probabilities(z), scan.volume.hu[z], labels, hidden):
                pixels.setdefault((scan.patient, column), []).append(part)
        if scan.presence is not None:
            seen.append((maps.presence(), *scan.presence))
    patients = tuple(sorted(sums))
    both, taken, true, wrong, judged = np.stack([sums[patient] for patient in patients], axis=1)
    auc = np.full(both.shape, np.nan)
    for (patient, column), parts in pixels.items():
        score, is_organ = (np.concatenate(array) for array in zip(*parts, strict=True))
        auc[patients.index(patient), column] = area_under_roc(score, is_organ)
    with np.errstate(invalid="ignore", divide="ignore"):
        dice = np.where(true > 0, 2 * both / (taken + true), np.nan)
        recall = np.where(true > 0, both / true, np.nan)
        wrong = np.where(judged > 0, wrong / judged, np.nan)
    presence, gap, count = _presence(seen, n)
    noise = np.stack([_mean_known(np.stack(ratios[patient])) for patient in patients])
    return Judgement(descriptors.descriptors, patients, dice, recall, auc, noise, wrong, presence, gap, slices, count)


def _scores(
    p: NDArray[np.float32], hu: NDArray[np.float32], labels: NDArray[np.uint8], hidden: NDArray[np.bool_]
) -> Iterator[tuple[int, tuple[NDArray[np.float32], NDArray[np.bool_]]]]:
    """Each outlined organ's index, its map on pixels of the body, and which of these are the organ's."""
    grid = (slice(None, None, _EVERY_PIXEL), slice(None, None, _EVERY_PIXEL))
    truth, shown = labels[grid], p[(slice(None), *grid)]
    body = (hu[grid] > BODY_ABOVE_HU) | (truth > 0)
    for value in np.unique(truth[truth > 0]):
        kept = body & ~((truth == 0) & hidden[value])
        yield int(value) - 1, (shown[value][kept], (truth == value)[kept])


def _overlaps(
    found: NDArray[np.uint8], labels: NDArray[np.uint8], hidden: NDArray[np.bool_], pixel_mm: float
) -> NDArray[np.float64]:
    """(5, N): pixels in both, found, outlined; cm² found and slices evaluated if the slice's outlines lack it."""
    n = len(hidden) - 1
    classes = np.arange(1, n + 1)
    open_pixel = (labels == 0) & hidden[found]
    taken = np.bincount(found[~open_pixel], minlength=n + 1)[1 : n + 1]
    true = np.bincount(labels.ravel(), minlength=n + 1)[1 : n + 1]
    both = np.bincount(found[found == labels], minlength=n + 1)[1 : n + 1]
    absent = (true == 0) & ~hidden[classes]
    area = np.where(absent, taken * pixel_mm**2 / 100, 0)
    return np.stack([both, taken, true, area, absent]).astype(np.float64)


def _noise_ratio(found: NDArray[np.uint8], outlined: NDArray[np.uint8], scan: Volume) -> NDArray[np.float64]:
    """(N,) noise of a slice within the detected organs relative to the outlined ones, NaN if either has none."""
    sd = np.full((2, len(load_descriptor_set(ANATOMY_SET))), np.nan)
    for row, regions in zip(sd, (found, outlined), strict=True):
        for organ in measure_organs(regions[None], scan)["organs"]:
            if organ["noise_before"] is not None and not organ["noise_is_bound"]:
                row[organ["value"] - 1] = organ["noise_before"]
    return sd[0] / sd[1]


def _mean_known(figures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the first axis ignoring NaN; NaN if there is no value."""
    known = (~np.isnan(figures)).sum(axis=0)
    return np.where(known > 0, np.nansum(figures, axis=0) / np.maximum(known, 1), np.nan)


def _presence(
    seen: list[tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]], n: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """(N,) AUC and |mean presence − fraction of slices|; number of slices."""
    if not seen:
        return np.full(n, np.nan), np.full(n, np.nan), 0
    score, present, sure = (np.concatenate(part) for part in zip(*seen, strict=True))
    auc = np.array([area_under_roc(score[sure[:, c], c], present[sure[:, c], c]) for c in range(n)])
    gap = np.array([abs(score[sure[:, c], c].mean() - present[sure[:, c], c].mean()) for c in range(n)])
    return auc, gap, len(score)
