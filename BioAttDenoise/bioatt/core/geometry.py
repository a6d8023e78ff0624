"""Axes of a volume in space. `direction` is ITK's: (3, 3), its columns the unit vectors of i, j, k in LPS."""

from __future__ import annotations

import itertools

import numpy as np

_OBLIQUE_DEGREES = 20.0
_SHEAR = 1e-3


def nearest_axes(direction: np.ndarray) -> tuple[tuple[int, ...], np.ndarray]:
    """For x, y, z of LPS: the array axis (i = 0, j = 1, k = 2) nearest to each, and that axis's sign along it (3,)."""
    weights = np.abs(direction)
    best = max(itertools.permutations(range(3)), key=lambda axes: sum(weights[w, a] for w, a in enumerate(axes)))
    return best, np.array([1.0 if direction[w, a] >= 0 else -1.0 for w, a in enumerate(best)])


def orientation_warnings(direction: np.ndarray) -> list[str]:
    index, _ = nearest_axes(direction)
    warnings = []
    if index[2] != 2:
        plane = "sagittal" if index[0] == 2 else "coronal"
        warnings.append(
            f"the slices are {plane}: they are denoised as axial ones, give the axial series where you have it"
        )
    normal = np.cross(direction[:, 0], direction[:, 1])
    normal /= np.linalg.norm(normal)
    if np.linalg.norm(normal - np.sign(normal @ direction[:, 2]) * direction[:, 2]) > _SHEAR:
        degrees = np.degrees(np.arccos(min(1.0, abs(float(normal @ direction[:, 2])))))
        warnings.append(f"the gantry was tilted: slices are sheared by {degrees:.1f} degrees, kept as they are")
    axes = direction[:, list(index)]
    tilt = np.degrees(np.arccos(np.clip(np.abs(np.diag(axes)).min(), 0, 1)))
    if tilt > _OBLIQUE_DEGREES:
        warnings.append(f"the axes are oblique by {tilt:.0f} degrees: the models were trained on axial slices")
    return warnings
