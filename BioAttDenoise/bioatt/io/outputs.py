"""Writing results: as a volume file by its suffix, or as a derived DICOM series in a folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from bioatt.core.errors import InputError
from bioatt.core.provenance import DENOISED, strength_note
from bioatt.core.volume import Volume
from bioatt.io.files import check_folder, is_series, occupied, same_file
from bioatt.io.images import check_output, write_volume
from bioatt.io.integrity import data_files


def check_result_output(
    volume: Volume,
    output: Path,
    series: bool | None = None,
    *,
    read: Iterable[Path] = (),
    overwrite: bool = False,
) -> None:
    """Raise InputError, before a long run, if `write_result` would refuse or would replace a file in `read`."""
    if _among(output, read):
        raise InputError(f"{output.name} is an input of this command and stays untouched: name another output")
    if is_series(output) if series is None else series:
        from bioatt.io.dicom.write import check_series_output  # pydicom takes a while to load

        check_series_output(volume, output)
    else:
        check_output(volume, output)
        check_free(output, overwrite)


def check_free(path: Path, overwrite: bool) -> None:
    """Raise InputError if an existing file would be replaced without permission; it may be somebody's only scan."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path.name} is not a regular file and stays untouched: name another output")
    if not overwrite and occupied(path):
        raise InputError(f"{path.name} already exists: name another output, or use --overwrite")


def write_result(
    volume: Volume,
    output: Path,
    series: bool | None = None,
    *,
    model_name: str,
    model_version: str,
    strength: float,
    strength_asked: str = "",
    organ_strength: Mapping[str, float] | None = None,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Write the denoised volume atomically. Returns warnings, one line each.

    series: whether `output` is a folder for a DICOM series; None decides by name (`is_series`).
    strength_asked (the requested level or target), organ_strength: for the note. overwrite: whether a file may be
    replaced; a non-empty folder never is. Raises OccupiedError if `output` appeared since `check_result_output`: the
    result is then kept under the name in the message.
    """
    if is_series(output) if series is None else series:
        from bioatt.io.dicom.write import write_derived_series

        return write_derived_series(
            volume,
            output,
            model_name=model_name,
            model_version=model_version,
            strength=strength,
            strength_asked=strength_asked,
            organ_strength=organ_strength,
        )
    applied = strength_note(strength, organ_strength or {}, strength_asked)
    note = f"{DENOISED}, model {model_name}, {applied}: research use only"
    write_volume(volume, output, note=note, overwrite=overwrite)
    return ()


def check_file_place(path: Path, *forbidden: Path, overwrite: bool = False) -> None:
    """Raise InputError if an auxiliary file (report, table, figure) cannot be written or would replace another file.

    forbidden: the command's inputs and other outputs, including the data files of .mhd and .nhdr headers.
    overwrite: whether any other file may be replaced.
    """
    if path.is_dir():
        raise InputError(f"{path.name} is a folder: name a file")
    if _among(path, forbidden):
        raise InputError(f"{path.name} is already an input or output of this command: name another file")
    check_free(path, overwrite)
    check_folder(path.absolute().parent)


def _among(path: Path, files: Iterable[Path]) -> bool:
    return any(same_file(path, file) for other in files for file in (other, *data_files(other)))
