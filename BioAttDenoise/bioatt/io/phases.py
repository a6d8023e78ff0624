"""Iteration over all volumes of a file or DICOM series, and the output path for each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from bioatt.core.errors import SeveralVolumesError
from bioatt.core.volume import Volume
from bioatt.io.files import is_series, suffix_of
from bioatt.io.images import read_volume


def each_volume(
    path: str | os.PathLike[str] | Sequence[Path], *, series: str | int | None = None
) -> Iterator[tuple[str, Volume]]:
    """Yield each volume that `phase` of `read_volume` can choose, with its label; "" if there is only one.

    Raises InputError as `read_volume`.
    """
    names: tuple[str, ...] = ()
    try:
        single = read_volume(path, series=series)
    except SeveralVolumesError as error:
        names = error.volumes
    if not names:
        yield "", single
    for number, name in enumerate(names, 1):
        yield name, read_volume(path, series=series, phase=number)


def numbered(output: Path, number: int) -> Path:
    """Output path of the volume with this number: `out-2.nii.gz`, or `out-2` for a series."""
    suffix = "" if is_series(output) else output.name[len(output.name) - len(suffix_of(output)) :]
    return output.with_name(f"{output.name.removesuffix(suffix)}-{number}{suffix}")
