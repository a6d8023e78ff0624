"""Geometry of a volume. `direction` follows ITK: (3, 3), its columns the unit vectors of i, j, k in LPS."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from bioatt.core.errors import InputError

_OBLIQUE_DEGREES = 20.0
_SHEAR = 1e-3
_SPACING_MM = (1e-3, 1e3)
"""A micrometre to a metre: covers every CT voxel, micro-CT included."""
_FARTHEST_MM = 1e6


def check_spacing(spacing: Sequence[float]) -> None:
    """Raise InputError for voxel sides (mm) that are not finite or are implausible for CT."""
    sides = ", ".join(f"{side:.3g}" for side in spacing)
    if not (np.isfinite(spacing).all() and min(spacing) > 0):
        raise InputError(f"the spacing is {sides} mm but must be positive: correct it in the file's header")
    if not _SPACING_MM[0] <= min(spacing) <= max(spacing) <= _SPACING_MM[1]:
        raise InputError(f"the spacing of {sides} mm is implausible for CT: correct it in the file's header")


def check_origin(origin: Sequence[float]) -> None:
    """Raise InputError for an origin (mm) that is not finite or lies beyond the travel of any scanner's table."""
    if not (np.isfinite(origin).all() and np.abs(origin).max() <= _FARTHEST_MM):
        place = ", ".join(f"{part:.3g}" for part in origin)
        raise InputError(f"the origin of {place} mm is implausible for CT: correct it in the file's header")


def check_direction(direction: np.ndarray) -> None:
    """Raise InputError if the columns of `direction` (3, 3) are not three unit vectors."""
    if (
        not np.isfinite(direction).all()
        or np.abs(direction).max() > 2
        or not np.allclose(np.linalg.norm(direction, axis=0), 1, atol=1e-3)
        or abs(np.linalg.det(direction)) < 1e-3
    ):
        raise InputError("the columns of the direction matrix are not unit vectors: correct the file's header")


def nearest_orthogonal(axes: np.ndarray) -> np.ndarray:
    """The orthogonal (3, 3) matrix nearest to `axes` (polar decomposition), of the same handedness."""
    u, _, v = np.linalg.svd(axes)
    return u @ v


def nearest_axes(direction: np.ndarray) -> tuple[tuple[int, ...], np.ndarray]:
    """The array axis (i = 0, j = 1, k = 2) nearest to each LPS axis x, y, z, and its sign along that axis (3,)."""
    weights = np.abs(direction)
    best = max(itertools.permutations(range(3)), key=lambda axes: sum(weights[w, a] for w, a in enumerate(axes)))
    return best, np.array([1.0 if direction[w, a] >= 0 else -1.0 for w, a in enumerate(best)])


def orientation_warnings(direction: np.ndarray) -> list[str]:
    index, _ = nearest_axes(direction)
    warnings = []
    if index[2] != 2:
        plane = "sagittal" if index[0] == 2 else "coronal"
        warnings.append(f"the slices are {plane} but are denoised as if axial: use the axial series if you have it")
    normal = np.cross(direction[:, 0], direction[:, 1])
    normal /= np.linalg.norm(normal)
    if np.linalg.norm(normal - np.sign(normal @ direction[:, 2]) * direction[:, 2]) > _SHEAR:
        degrees = np.degrees(np.arccos(min(1.0, abs(float(normal @ direction[:, 2])))))
        warnings.append(f"the gantry was tilted: slices stay sheared by {degrees:.1f} degrees")
    axes = direction[:, list(index)]
    tilt = np.degrees(np.arccos(np.clip(np.abs(np.diag(axes)).min(), 0, 1)))
    if tilt > _OBLIQUE_DEGREES:
        warnings.append(f"the axes are oblique by {tilt:.0f} degrees: the models were trained on axial slices")
    return warnings
