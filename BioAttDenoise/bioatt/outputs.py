"""Where a result goes: a volume file by its suffix, or a folder as a derived DICOM series."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bioatt.dicom import check_series_output, write_derived_series
from bioatt.errors import InputError
from bioatt.volume import Volume, check_output, write_volume
from bioatt.volume_io import check_folder

if TYPE_CHECKING:
    from bioatt.denoiser import Result


def is_series(output: Path) -> bool:
    """True where an output without suffix names a folder for a DICOM series, False where it names a file."""
    return output.is_dir() or not output.suffix


def check_result_output(volume: Volume, output: Path) -> None:
    """Raise InputError, before the long run, where `write_result` would refuse."""
    if is_series(output):
        check_series_output(volume, output)
    else:
        check_output(volume, output)


def write_result(result: Result, output: Path) -> None:
    """Write the denoised volume, whole or not at all."""
    if is_series(output):
        model = result.model
        write_derived_series(
            result.volume, output, model_name=model.name, model_version=model.version, strength=result.strength
        )
    else:
        note = f"Denoised by BioAttDenoise, model {result.model.name}, strength {result.strength:g}: research use only"
        write_volume(result.volume, output, note=note)


def check_file_place(path: Path) -> None:
    """Raise InputError where a side file (report, table) could not be written."""
    if path.is_dir():
        raise InputError(f"{path.name} is a folder: name a file")
    check_folder(path.absolute().parent)


@contextmanager
def appearing_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed onto it when the block succeeds and removed when it does not.

    Raises InputError where the disk is full or the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise InputError(
            f"{path.name} could not be written whole ({error.strerror}): free some space and try again"
        ) from None
    finally:
        partial.unlink(missing_ok=True)
