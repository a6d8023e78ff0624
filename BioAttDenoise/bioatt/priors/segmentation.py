"""SegmentationPrior: a spatial prior from organ masks, which the paper mentions as future work."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from bioatt.anatomy.descriptors import DescriptorSet
from bioatt.core.errors import InputError
from bioatt.core.resources import resources_folder
from bioatt.core.volume import Volume
from bioatt.io.images import read_volume
from bioatt.priors.base import AnatomicalPrior, Prior
from bioatt.priors.spatial import SpatialRows

BORDER_MM = 2.0
"""σ of the Gaussian that softens a mask's border, about the width of a CT edge."""


@dataclass(frozen=True)
class Segmentation:
    """A label volume. labels: label values on any grid. names: structure of each value."""

    labels: Volume
    names: Mapping[int, str]


class SegmentationPrior:
    """Spatial prior (slices, N, H, W): the organ inside its mask, elsewhere the slice prior, or none if not `complete`.

    A structure that belongs to several descriptors ("aorta") is divided among them in proportion to the slice prior.
    Raises InputError if no structure belongs to any descriptor.
    """

    def __init__(
        self,
        segmentation: Segmentation,
        descriptors: DescriptorSet,
        slice_prior: AnatomicalPrior,
        border_mm: float = BORDER_MM,
        *,
        complete: bool = True,
    ) -> None:
        self.labels = segmentation.labels
        self.columns = {
            value: columns for value, name in segmentation.names.items() if (columns := descriptors.columns_of(name))
        }
        if not self.columns:
            raise InputError(
                f"no structure of the segmentation belongs to a descriptor of {descriptors.name}: give a name table, "
                'as {"1": "spleen", ...}'
            )
        self.descriptors = descriptors.descriptors
        self.slice_prior = slice_prior
        self.border_mm = border_mm
        self.complete = complete

    def probabilities(self, volume: Volume, *, cancelled: Callable[[], bool] | None = None) -> Prior:
        """See AnatomicalPrior; `part_probabilities` of the whole volume."""
        return self.part_probabilities(volume, volume, cancelled=cancelled)

    def part_probabilities(self, part: Volume, whole: Volume, *, cancelled: Callable[[], bool] | None = None) -> Prior:
        """See PlacedPrior. p is computed row by row on access. Raises InputError as `check_place`."""
        self.check_place(whole)
        base = self.slice_prior.probabilities(part, cancelled=cancelled).aligned_to(self.descriptors)
        by_slice = np.asarray(base.p)

        def row(z: int) -> NDArray[np.float32]:
            return self._row(part, z, by_slice[z])

        count, high, wide = part.shape
        depth = len(self.descriptors)
        rows = SpatialRows(row, tuple(range(count)), tuple(range(depth)), depth, (high, wide), complete=self.complete)
        source = f"segmentation over {base.source}" if self.complete else "segmentation"
        return Prior(rows, self.descriptors, source, part.slice_ids)

    def maps(self, volume: Volume, *, cancelled: Callable[[], bool] | None = None) -> SegmentedOrgans:
        """See AnatomySource."""
        return SegmentedOrgans(self, volume, cancelled)

    def check_place(self, whole: Volume) -> None:
        """Raise InputError if the scan or segmentation is unevenly spaced, or no known structure lies on `whole`."""
        for what, volume in (("scan", whole), ("segmentation", self.labels)):
            if not volume.even:
                raise InputError(
                    f"slices of the {what} are missing or unevenly spaced, so organ masks cannot be placed: "
                    "complete the series, or use another prior"
                )
        if not self._overlaps(whole):
            raise InputError(
                "the segmentation does not overlap the scan: give one of this scan, saved with its geometry"
            )

    @cached_property
    def _extent(self) -> list[tuple[int, int]]:
        """First and last index along i, j, k of the labels that belong to a descriptor; empty without any."""
        known = np.isin(self.labels.hu, list(self.columns))
        lines = [np.flatnonzero(known.any(axis=axes)) for axes in ((0, 1), (0, 2), (1, 2))]
        return [(int(line[0]), int(line[-1])) for line in lines if line.size]

    def _overlaps(self, volume: Volume) -> bool:
        """Whether a label of a descriptor is in the volume; searches only slices that can contain one."""
        if not self._extent:
            return False
        edges = [(first - 0.5, last + 0.5) for first, last in self._extent]
        corners = np.array([*itertools.product(*edges)])
        to_volume = np.linalg.inv(volume.ijk_to_lps) @ self.labels.ijk_to_lps
        heights = corners @ to_volume[2, :3] + to_volume[2, 3]
        slices = range(max(int(heights.min()), 0), min(int(np.ceil(heights.max())) + 1, volume.shape[0]))
        return any(np.isin(self.labels_on(volume, z), list(self.columns)).any() for z in slices)

    def _row(self, volume: Volume, z: int, base: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, H, W) of slice z: the masks, plus (1 − Σ masks) · base if complete."""
        labels = self.labels_on(volume, z)
        masks = np.zeros((len(base), *labels.shape), np.float32)
        for value in np.unique(labels):
            columns = list(self.columns.get(int(value), ()))
            if columns:
                shares = base[columns] / base[columns].sum() if base[columns].sum() > 0 else 1 / len(columns)
                masks[columns] += np.reshape(shares, (-1, 1, 1)) * (labels == value)
        for column in np.flatnonzero(masks.any(axis=(1, 2))):
            masks[column] = self.softened(masks[column], volume)
        return masks + (1 - masks.sum(axis=0)).clip(0) * base[:, None, None] if self.complete else masks

    def softened(self, mask: NDArray[np.float32], volume: Volume) -> NDArray[np.float32]:
        """Soften the border of a slice's mask (H, W)."""
        sigma = (self.border_mm / volume.spacing[1], self.border_mm / volume.spacing[0])
        return gaussian_filter(mask, sigma, mode="nearest")

    def labels_on(self, volume: Volume, z: int) -> NDArray[np.int64]:
        """(H, W) label values at slice z's pixel centres: that of the nearest label voxel, 0 outside the label grid."""
        to_label = np.linalg.inv(self.labels.ijk_to_lps) @ volume.ijk_to_lps
        j, i = np.mgrid[: volume.shape[1], : volume.shape[2]]
        where = [np.rint(axis[0] * i + axis[1] * j + axis[2] * z + axis[3]).astype(np.int64) for axis in to_label[:3]]
        inside = np.logical_and.reduce(
            [(index >= 0) & (index < size) for index, size in zip(where, self.labels.shape[::-1], strict=True)]
        )
        x, y, depth = (index[inside] for index in where)
        labels = np.zeros(inside.shape, np.int64)
        labels[inside] = self.labels.hu[depth, y, x]
        return labels


class SegmentedOrgans:
    """OrganProbabilities from masks with soft borders.

    On each slice, a structure of several descriptors ("aorta") is assigned to the one more probable by the slice prior.
    """

    source = "segmentation"
    least_ml = 0.0

    def __init__(self, prior: SegmentationPrior, volume: Volume, cancelled: Callable[[], bool] | None = None) -> None:
        self.prior, self.volume, self.cancelled = prior, volume, cancelled
        self.descriptors = prior.descriptors

    def labels(self, z: int) -> NDArray[np.uint8]:
        """See OrganProbabilities."""
        values = self.prior.labels_on(self.volume, z)
        found = np.zeros(values.shape, np.uint8)
        for value in np.unique(values):
            columns = list(self.prior.columns.get(int(value), ()))
            if len(columns) > 1:
                columns = [columns[int(self._by_slice[z][columns].argmax())]]
            if columns:
                found[values == value] = 1 + columns[0]
        return found

    def organ(self, z: int, column: int) -> NDArray[np.float32]:
        """See OrganProbabilities."""
        return self.prior.softened((self.labels(z) == 1 + column).astype(np.float32), self.volume)

    @cached_property
    def _by_slice(self) -> NDArray[np.float32]:
        """(slices, N)"""
        p = self.prior.slice_prior.probabilities(self.volume, cancelled=self.cancelled)
        return np.asarray(p.aligned_to(self.descriptors).p)


def read_segmentation(path: Path, table: Path | None = None) -> Segmentation:
    """Read a label volume and its names: from `table`, else the file (Slicer's .seg.nrrd), else TotalSegmentator's.

    table: JSON of {"1": "spleen", …} or {"spleen": 1, …}. Raises InputError if a file cannot be used.
    """
    labels = read_volume(path, hu=False)
    if not np.array_equal(labels.hu, np.rint(labels.hu)):
        raise InputError(
            f"{path.name} is not a label volume, since its values are not integers: give one with integer labels"
        )
    if table is not None:
        return Segmentation(labels, _read_table(table))
    names = _slicer_names(path) if path.name.lower().endswith(".seg.nrrd") else {}
    return Segmentation(
        labels, names or _read_table(resources_folder() / "Anatomy" / "labels" / "totalsegmentator.json")
    )


def _read_table(path: Path) -> dict[int, str]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        pairs = [(key, value) if isinstance(value, str) else (value, key) for key, value in table.items()]
        if any(str(name).strip().isdigit() for _, name in pairs):
            raise ValueError("a name is a number")
        return {int(value): str(name) for value, name in pairs}
    except OSError:
        raise InputError(f"name table {path.name} cannot be opened: check the path") from None
    except (ValueError, TypeError, AttributeError):
        raise InputError(f'name table {path.name} is not {{"1": "spleen", ...}}: correct the file') from None


def _slicer_names(path: Path) -> dict[int, str]:
    """Segment names from the header written by 3D Slicer: Segment0_LabelValue, Segment0_Name, ..."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    names = {}
    for key in reader.GetMetaDataKeys():
        if key.startswith("Segment") and key.endswith("_LabelValue"):
            name = key.replace("_LabelValue", "_Name")
            if reader.HasMetaDataKey(name):
                names[int(reader.GetMetaData(key))] = reader.GetMetaData(name)
    return names
