"""Regions for measuring organs: eroded organs, and muscle next to the spine as reference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

ERODED_MM = 3.0
"""Distance from an organ's border within which partial volume and errors of the maps matter."""
MUSCLE = 255
"""Value of muscle in the regions."""
_MUSCLE_HU = (10.0, 110.0)
"""Muscle without and with contrast agent, in the smoothed slice; lower values are fat, higher ones contrast or bone."""
_SMOOTHED_MM = 2.0
_FROM_SPINE_MM = 60.0
"""Muscle is taken lateral and posterior to the spine's centre, where there is no other soft tissue."""
_LEAST_SPINE_MM2 = 200.0

Labels = NDArray[np.uint8]
Spacing = tuple[float, float, float]


def voxels_by_value(labels: Labels) -> NDArray[np.int64]:
    """Number of voxels of each value, (256,), counted slice by slice."""
    return np.sum([np.bincount(plane.ravel(), minlength=256) for plane in labels], axis=0, dtype=np.int64)


def box_of(mask: NDArray[np.bool_], margin: int) -> tuple[slice, slice]:
    """Rows and columns of a mask's True pixels, with a margin."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + margin + 1),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + margin + 1),
    )


def with_muscle(labels: Labels, hu: NDArray[np.floating], spacing: Spacing, spine: int) -> Labels:
    """Add MUSCLE to labels (z, y, x) of axial slices in LPS order. hu: (z, y, x). spine: the spine's value.

    Slices without a spine get no muscle.
    """
    found = labels.copy()
    pixel = spacing[0] * spacing[1]
    reach = [int(_FROM_SPINE_MM / step) + 1 for step in spacing[1::-1]]
    for k, image in enumerate(labels):
        rows, columns = np.nonzero(image == spine)
        if rows.size * pixel < _LEAST_SPINE_MM2:
            continue
        middle = rows.mean(), columns.mean()
        first = [max(int(at) - far, 0) for at, far in zip(middle, reach, strict=True)]
        box = tuple(slice(low, int(at) + far + 1) for low, at, far in zip(first, middle, reach, strict=True))
        y, x = np.ogrid[: image[box].shape[0], : image[box].shape[1]]
        down, across = (y + first[0] - middle[0]) * spacing[1], (x + first[1] - middle[1]) * spacing[0]
        near = (down > 0) & (down**2 + across**2 < _FROM_SPINE_MM**2)
        smooth = gaussian_filter(hu[k][box].astype(np.float32), (_SMOOTHED_MM / spacing[1], _SMOOTHED_MM / spacing[0]))
        muscle = near & (image[box] == 0) & (smooth > _MUSCLE_HU[0]) & (smooth < _MUSCLE_HU[1])
        found[k][box][muscle] = MUSCLE
    return found


def eroded(labels: Labels, spacing: Spacing) -> Labels:
    """Keep labels (z, y, x) at least ERODED_MM from other values in their slice.

    The slices above and below, if any, must have the same value.
    """
    inner = np.zeros_like(labels)
    margin = int(ERODED_MM / min(spacing[:2])) + 2
    for k, plane in enumerate(labels):
        if not plane.any():
            continue
        box = box_of(plane > 0, margin)
        image = plane[box]
        edge = np.zeros(image.shape, bool)
        for axis in (0, 1):
            differs = np.diff(image, axis=axis) != 0
            first, second = [slice(None)] * 2, [slice(None)] * 2
            first[axis], second[axis] = slice(0, -1), slice(1, None)
            edge[tuple(first)] |= differs
            edge[tuple(second)] |= differs
        far = distance_transform_edt(~edge, (spacing[1], spacing[0])) if edge.any() else np.inf
        inner[k][box] = image * (far > ERODED_MM)
    inner[1:][labels[:-1] != labels[1:]] = 0
    inner[:-1][labels[:-1] != labels[1:]] = 0
    return inner
