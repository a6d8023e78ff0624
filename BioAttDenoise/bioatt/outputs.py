"""Where a result goes: a volume file by its suffix, or a folder as a derived DICOM series."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bioatt.errors import InputError
from bioatt.volume import write_volume

if TYPE_CHECKING:
    from bioatt.denoiser import Result

SUFFIXES = (".nrrd", ".nii.gz", ".nii", ".mha")


def is_file_output(path: Path) -> bool:
    """True for a path with the suffix of a volume file, False for a folder."""
    return path.name.lower().endswith(SUFFIXES)


def check_output(output: str, source: str) -> None:
    """Refuse, before any work is done, an output that could not be written or would overwrite the input.

    Raises InputError.
    """
    path = Path(output)
    if path.exists() and path.resolve() == Path(source).resolve():
        raise InputError("output and input are the same: choose another output, the original is never overwritten")
    if is_file_output(path):
        if not path.absolute().parent.is_dir():
            raise InputError(f"folder {path.absolute().parent.name}/ of the output does not exist: create it first")
        if path.is_dir():
            raise InputError(f"{path.name} is a folder: choose a file name for the output")
    elif path.suffix:
        raise InputError(f"unknown output format {path.suffix}: use {', '.join(SUFFIXES)}, or a folder for DICOM")
    elif not Path(source).exists():
        raise InputError(f"input {Path(source).name} does not exist: check the path")
    elif path.is_dir() and any(path.iterdir()):
        raise InputError(f"output folder {path.name}/ is not empty: choose a new one, nothing is overwritten")


def write_result(result: Result, output: str) -> None:
    """Write the denoised volume, whole or not at all. A folder needs a volume that came from DICOM."""
    path = Path(output)
    if is_file_output(path):
        return write_volume(result.volume, path)
    from bioatt.dicom import write_derived_series

    write_derived_series(
        result.volume,
        path,
        model_name=result.model.name,
        model_version=result.model.version,
        strength=result.strength,
    )
    return None
