"""Where a result goes: a volume file by its suffix, or a folder as a derived DICOM series."""

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
    """Raise InputError, before the long run, where `write_result` would refuse, or would replace a file of `read`."""
    if _among(output, read):
        raise InputError(f"{output.name} is a file that this command reads, and stays untouched: name another output")
    if is_series(output) if series is None else series:
        from bioatt.io.dicom.write import check_series_output  # pydicom takes a while to load

        check_series_output(volume, output)
    else:
        check_output(volume, output)
        check_free(output, overwrite)


def check_free(path: Path, overwrite: bool) -> None:
    """Raise InputError if a file would be replaced that nobody offered for it: it may be somebody's only scan."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path.name} is no ordinary file, and stays as it is: name another output")
    if not overwrite and occupied(path):
        raise InputError(f"{path.name} is there already: name another output, or say --overwrite")


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
    """Write the denoised volume, whole or not at all. Returns warnings, one line each.

    series: whether `output` is a folder for a DICOM series, whatever its name; None goes by `is_series`.
    strength_asked (the level or target that the strength comes from), organ_strength: for the note. overwrite: whether
    a file may be replaced; a folder that holds anything never is. Raises OccupiedError if `output` appeared since
    `check_result_output`: the result is then kept under the name in the message.
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
    said = strength_note(strength, organ_strength or {}, strength_asked)
    note = f"{DENOISED}, model {model_name}, {said}: research use only"
    write_volume(volume, output, note=note, overwrite=overwrite)
    return ()


def check_file_place(path: Path, *forbidden: Path, overwrite: bool = False) -> None:
    """Raise InputError if a side file (report, table, picture) could not be written, or would replace another file.

    forbidden: what the command reads and what else it writes; the data files of .mhd and .nhdr headers belong to them.
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
