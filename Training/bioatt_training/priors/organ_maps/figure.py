"""A figure of organ maps on held-out patients: the most probable organs and the outlines."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bioatt.anatomy.descriptors import DescriptorSet
from bioatt.anatomy.terminology import segments_of
from bioatt.core.metrics import WINDOWS
from bioatt.core.volume import Volume
from bioatt.priors.organ_maps import OrganMapPrior
from bioatt_training.priors.organ_maps.judge import Scan
from bioatt_training.reporting import save_figure

SHOWN = ("lungs", "heart", "liver", "kidneys", "spine", "pelvis")
"""Organs to show, each on the held-out patients' slice with its largest outline."""
CAPTION = "Filled: most probable organ by the maps. White line: outlines."


class _Slice(NamedTuple):
    scan: Scan
    z: int
    pixels: int


def write_figure(prior: OrganMapPrior, scans: Iterable[Scan], descriptors: DescriptorSet, path: Path) -> None:
    """Draw the slices of SHOWN as PNG; writes nothing if no scan is outlined."""
    chosen = _chosen(scans, descriptors)
    if not chosen:
        return
    figure = Figure(figsize=(9, 6.6), facecolor="black", layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (organ, found) in zip(axes, chosen.items(), strict=False):
        labels = prior.maps(found.scan.volume).labels(found.z)
        axis.imshow(overlaid(found.scan.volume, found.z, labels, organ), interpolation="nearest")
        outlines = found.scan.outlined[found.z][0]
        for value in np.unique(outlines[outlines > 0]):
            axis.contour(outlines == value, levels=[0.5], colors="white", linewidths=0.7)
        axis.set_title(organ, color="white", fontsize=10)
    figure.suptitle(CAPTION, color="white", fontsize=10)
    save_figure(figure, path, dpi=80)


def overlaid(volume: Volume, z: int, labels: NDArray[np.uint8], organ: str) -> NDArray[np.float64]:
    """(H, W, 3) the slice in grey, 0 to 1, in the window of the organ, with the labels in Slicer's colours."""
    low, high = WINDOWS["lung" if organ == "lungs" else "soft tissue"]
    grey = np.clip((volume.hu[z] - low) / (high - low), 0, 1)
    picture = np.repeat(grey[..., None], 3, axis=2).astype(np.float64)
    for segment in segments_of(np.unique(labels)):
        inside = labels == segment.value
        picture[inside] = 0.65 * picture[inside] + 0.35 * np.array(segment.color) / 255
    return picture


def _chosen(scans: Iterable[Scan], descriptors: DescriptorSet) -> dict[str, _Slice]:
    """The slice of each outlined organ of SHOWN, using each slice only once."""
    candidates: dict[str, list[_Slice]] = {organ: [] for organ in SHOWN}
    for scan in scans:
        for z, (labels, _) in scan.outlined.items():
            for organ in SHOWN:
                pixels = int(np.count_nonzero(labels == 1 + descriptors.column_named(organ)))
                if pixels:
                    candidates[organ].append(_Slice(scan, z, pixels))
    chosen: dict[str, _Slice] = {}
    for organ, slices in candidates.items():
        taken = {(one.scan.name, one.z) for one in chosen.values()}
        free = [one for one in slices if (one.scan.name, one.z) not in taken]
        if free:
            chosen[organ] = max(free, key=lambda one: one.pixels)
    return chosen
