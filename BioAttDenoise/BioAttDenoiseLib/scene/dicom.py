"""Slicer's DICOM database: find a volume's files, and add a new series."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import slicer

from . import volumes


def database() -> Any:
    """Slicer's DICOM database, None if there is none or it is closed."""
    found = getattr(slicer, "dicomDatabase", None)
    return found if found is not None and found.isOpen else None


def source_series(node: Any) -> tuple[Path, str] | None:
    """(folder, SeriesInstanceUID) of the DICOM series that a volume node was loaded from, None if it is unknown or its
    files are missing.
    """
    known = database()
    if known is None:
        return None
    series = volumes.series_uid(node)
    if not series and (files := volumes.dicom_files(node)):
        series = known.seriesForFile(files[0])
    files = [Path(file) for file in known.filesForSeries(series)] if series else []
    if not files or not all(file.is_file() for file in files):
        return None
    return Path(os.path.commonpath([file.parent for file in files])), series


def take_in(folder: Path) -> bool:
    """Add a folder's series to Slicer's DICOM database; whether that succeeded."""
    if database() is None:
        return False
    try:
        from DICOMLib import DICOMUtils
    except ImportError:  # a Slicer without its DICOM module
        return False
    return bool(DICOMUtils.importDicom(str(folder)))
