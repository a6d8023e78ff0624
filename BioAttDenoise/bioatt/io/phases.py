"""The volumes that lie in one file or DICOM series, in the order in which `phase` counts them."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import SimpleITK as sitk

from bioatt.core.errors import InputError
from bioatt.io.images import READABLE
from bioatt.io.integrity import check_whole, suffix_of
from bioatt.io.nifti import count_volumes
from bioatt.io.quiet import quiet_stderr


def phases_of(path: Path, series: str | int | None = None) -> list[str]:
    """What tells each volume apart, one for a plain CT. Raises InputError where there is none, and OSError."""
    if not (path.is_file() and suffix_of(path) in READABLE):
        return _series_phases(path, series)
    count = count_volumes(path) if suffix_of(path).startswith(".nii") else _count(path)
    return [f"volume {number}" for number in range(1, count + 1)]


def _series_phases(path: Path, series: str | int | None) -> list[str]:
    from bioatt.io.dicom.groups import describe, mates_of
    from bioatt.io.dicom.read import ct_images
    from bioatt.io.dicom.slices import lenient

    with lenient(), ExitStack() as scratch:
        mates = mates_of(ct_images(path, scratch), series)
        return [describe(group, mates[0]) for group in mates]


def _count(path: Path) -> int:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        check_whole(path)
        with quiet_stderr():
            reader.ReadImageInformation()
    except RuntimeError:
        raise InputError(f"{path.name} is damaged, or not of the format its name says: copy it again") from None
    return reader.GetSize()[3] if reader.GetDimension() > 3 else reader.GetNumberOfComponents()
