"""Regions in which organs are measured: eroded organs, and muscle beside the spine as their reference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

ERODED_MM = 3.0
"""Distance from an organ's border, over which partial volume and the maps' own error reach."""
MUSCLE = 255
"""Value of muscle in the regions."""
_MUSCLE_HU = (10.0, 110.0)
"""Muscle without and with contrast, in the smoothed slice; less is fat, more is contrast or bone."""
_SMOOTHED_MM = 2.0
_FROM_SPINE_MM = 60.0
"""Muscle is taken beside and behind the spine's centre, where there is no other soft tissue."""
_LEAST_SPINE_MM2 = 200.0

Labels = NDArray[np.uint8]
Spacing = tuple[float, float, float]


def with_muscle(labels: Labels, hu: NDArray[np.floating], spacing: Spacing, spine: int) -> Labels:
    """Labels (z, y, x) of axial slices in LPS order, with MUSCLE added; hu (z, y, x); spine: the spine's value.

    Slices without a spine get none.
    """
    found = labels.copy()
    pixel = spacing[0] * spacing[1]
    y, x = np.ogrid[: labels.shape[1], : labels.shape[2]]
    for k, image in enumerate(labels):
        rows, columns = np.nonzero(image == spine)
        if rows.size * pixel < _LEAST_SPINE_MM2:
            continue
        down, across = (y - rows.mean()) * spacing[1], (x - columns.mean()) * spacing[0]
        near = (down > 0) & (down**2 + across**2 < _FROM_SPINE_MM**2)
        smooth = gaussian_filter(hu[k].astype(np.float32), (_SMOOTHED_MM / spacing[1], _SMOOTHED_MM / spacing[0]))
        muscle = near & (image == 0) & (smooth > _MUSCLE_HU[0]) & (smooth < _MUSCLE_HU[1])
        found[k][muscle] = MUSCLE
    return found


def eroded(labels: Labels, spacing: Spacing) -> Labels:
    """Labels (z, y, x) at least ERODED_MM from another value in their slice, and with the same value in the slices
    above and below, as far as there are any."""
    inner = np.zeros_like(labels)
    for k, image in enumerate(labels):
        edge = np.zeros(image.shape, bool)
        for axis in (0, 1):
            differs = np.diff(image, axis=axis) != 0
            first, second = [slice(None)] * 2, [slice(None)] * 2
            first[axis], second[axis] = slice(0, -1), slice(1, None)
            edge[tuple(first)] |= differs
            edge[tuple(second)] |= differs
        if image.any():
            far = distance_transform_edt(~edge, (spacing[1], spacing[0])) if edge.any() else np.inf
            inner[k] = image * (far > ERODED_MM)
    inner[1:][labels[:-1] != labels[1:]] = 0
    inner[:-1][labels[:-1] != labels[1:]] = 0
    return inner
