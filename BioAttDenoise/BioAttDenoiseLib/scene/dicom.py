"""Slicer's DICOM database: where a volume's files are, and taking a new series in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import slicer


def database() -> Any:
    """Slicer's DICOM database, None where there is none or it is closed."""
    found = getattr(slicer, "dicomDatabase", None)
    return found if found is not None and found.isOpen else None


def source_series(node: Any) -> tuple[Path, str] | None:
    """(folder, SeriesInstanceUID) of the DICOM series that a volume node was loaded from, None where that is not known
    or its files are gone.
    """
    known, uids = database(), (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    if known is None or not uids:
        return None
    files = [known.fileForInstance(uid) for uid in uids]
    if not all(file and Path(file).is_file() for file in files):
        return None
    return Path(os.path.commonpath([str(Path(file).parent) for file in files])), known.seriesForFile(files[0])


def take_in(folder: Path) -> bool:
    """Add a folder's series to Slicer's DICOM database; whether that could be done."""
    if database() is None:
        return False
    try:
        from DICOMLib import DICOMUtils
    except ImportError:  # a Slicer without its DICOM module
        return False
    return bool(DICOMUtils.importDicom(str(folder)))
