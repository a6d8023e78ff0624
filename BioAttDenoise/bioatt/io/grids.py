"""Check that two scans share a voxel grid."""

from __future__ import annotations

import numpy as np

from bioatt.core.errors import InputError
from bioatt.core.volume import Volume
from bioatt.io.dicom.slices import slice_positions


def check_same_grid(reference: Volume, other: Volume) -> None:
    """Raise InputError if the voxel positions of two volumes differ by more than 0.01 mm."""
    if reference.shape != other.shape:
        raise InputError(
            f"{_name(other)} has {' x '.join(map(str, other.shape))} voxels (z, y, x), "
            f"the reference {' x '.join(map(str, reference.shape))}: compare scans on the same grid"
        )
    if not (reference.even and other.even):
        apart = np.abs(slice_positions(reference) - slice_positions(other)).max()
        if apart > 0.01:
            raise InputError(
                f"slices of {_name(other)} are {apart:.2g} mm off the reference's (missing or unevenly spaced): "
                "give both the same slices"
            )
    last = np.append(np.array(reference.shape[::-1]) - 1, 1)
    for corner in (np.array([0, 0, 0, 1]), last, last * [1, 0, 0, 1], last * [0, 1, 0, 1]):
        apart = np.linalg.norm((reference.ijk_to_lps - other.ijk_to_lps) @ corner)
        if apart > 0.01:
            raise InputError(
                f"{_name(other)} is {apart:.2g} mm off the reference (spacing, origin or direction differ): "
                "resample it to the reference's grid first"
            )


def _name(volume: Volume) -> str:
    """Name of a volume in messages."""
    return volume.sources[0].name if len(volume.sources) == 1 else "the scan"
