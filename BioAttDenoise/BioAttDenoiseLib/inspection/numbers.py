"""Measurements of a comparison: regions of interest, contrast-to-noise ratio, and error against a reference volume."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from bioatt.core import metrics

from ..scene import regions, slice_views, volumes

HEADER = ("volume", "quantity", "value", "unit")
DIGITS = {"HU": 1, "dB": 2, "mm³": 0}


@dataclass(frozen=True)
class Number:
    """One row of the table."""

    volume: str
    quantity: str
    value: float
    unit: str

    @property
    def text(self) -> str:
        """The value as displayed."""
        return f"{self.value:.{DIGITS.get(self.unit, 3)}f}".replace("-", "−")


def roi_voxels(roi: Any, node: Any) -> np.ndarray:
    """HU of the voxels whose centres lie inside a markups ROI. Raises ValueError if there are none."""
    array, matrix = slicer.util.arrayFromVolume(node), volumes.ijk_to_ras(node)
    box = regions.box_region(array.shape, matrix, volumes.box_corners(roi, node)).box
    assert box is not None
    k, j, i = np.indices([part.stop - part.start for part in box])
    ijk1 = np.stack([i + box[2].start, j + box[1].start, k + box[0].start, np.ones_like(i)]).reshape(4, -1)
    ras = matrix @ ijk1
    ras[:3] = volumes.to_world(node, ras[:3].T).T
    local = np.linalg.inv(slicer.util.arrayFromVTKMatrix(roi.GetObjectToWorldMatrix())) @ ras
    half = np.array(roi.GetSize())[:, None] / 2
    inside = (np.abs(local[:3]) <= half + 1e-6).all(axis=0)
    if not inside.any():
        raise ValueError(_('ROI "{name}" contains no voxels. Make it larger.').format(name=roi.GetName()))
    return array[box].reshape(-1)[inside].astype(np.float64)


def roi_numbers(nodes: list[Any], first: Any, second: Any = None) -> list[Number]:
    """Mean and SD in each volume; with two regions also CNR = |mean₁ − mean₂| / SD₂ (the second is the background)."""
    lines = []
    for node in nodes:
        found = []
        for roi in (first, second):
            if roi is None:
                continue
            hu = roi_voxels(roi, node)
            found.append((hu.mean(), hu.std(ddof=1) if hu.size > 1 else 0.0))
            lines.append(
                Number(node.GetName(), _("mean in {roi}").format(roi=roi.GetName()), float(found[-1][0]), "HU")
            )
            if hu.size > 1:
                lines.append(
                    Number(node.GetName(), _("SD in {roi}").format(roi=roi.GetName()), float(found[-1][1]), "HU")
                )
        if len(found) == 2 and found[1][1] > 0:
            lines.append(Number(node.GetName(), "CNR", float(abs(found[0][0] - found[1][0]) / found[1][1]), ""))
    return lines


def noise_numbers(nodes: list[Any]) -> list[Number]:
    """Soft-tissue σ of each volume, if it can be measured."""
    lines = []
    for node in nodes:
        sd = metrics.noise_sd(_axial(node))
        if sd == sd:
            lines.append(Number(node.GetName(), _("most frequent σ of 9×9 px in soft tissue"), sd, "HU"))
    return lines


def reference_numbers(nodes: list[Any], reference: Any) -> list[Number]:
    """RMSE, PSNR and SSIM of each volume against a reference, in the soft-tissue window.

    Raises ValueError if the reference has a different voxel grid.
    """
    span = metrics.WINDOWS["soft tissue"]
    truth = _axial(reference)
    lines = []
    for node in nodes:
        if not slice_views.same_grid(node, reference):
            raise ValueError(_('The reference and "{name}" have different geometry.').format(name=node.GetName()))
        hu = _axial(node)
        lines.append(Number(node.GetName(), _("RMSE, soft tissue"), metrics.rmse(truth, hu, span), "HU"))
        lines.append(Number(node.GetName(), _("PSNR, soft tissue"), metrics.psnr(truth, hu, span), "dB"))
        lines.append(Number(node.GetName(), _("SSIM, soft tissue"), metrics.ssim(truth, hu, span), ""))
    return lines


def as_csv(lines: list[Number], delimiter: str = ",") -> str:
    """The table as text, full precision, for a file or (with a tab) the clipboard."""
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows((line.volume, line.quantity, repr(line.value), line.unit) for line in lines)
    return stream.getvalue()


def _axial(node: Any) -> np.ndarray:
    """The voxels with the axial slices first."""
    return np.moveaxis(slicer.util.arrayFromVolume(node), regions.axial_axis(volumes.ijk_to_ras(node)), 0)
