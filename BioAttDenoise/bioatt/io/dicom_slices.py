"""The CT images among the files of a folder, by their headers (pydicom)."""

from __future__ import annotations

import os
import stat
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from bioatt.core.errors import InputError
from bioatt.core.volume import Volume

_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
_ENHANCED = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
_MOST_FILES = 50_000
_CUT_SHORT = "a DICOM file is empty or cut short, and its slice would be missing: copy the series again"
_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "Modality", "ImageType", "Rows", "Columns",
    "SamplesPerPixel", "NumberOfFrames", "BitsAllocated", "PixelRepresentation", "PixelPaddingValue", "PixelSpacing",
    "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept", "RescaleType",
    "SliceThickness", "SpacingBetweenSlices", "ConvolutionKernel", "KVP", "PhotometricInterpretation",
    "SeriesDescription", "StudyInstanceUID", "PatientID",
]  # fmt: skip


class SourceFile(type(Path())):  # type: ignore[misc]
    """Path of a slice's file that remembers which image it held, so that another one of its name is not taken for it.

    identity: `identity_of` its header when it was read; None for paths made from this one.
    """

    identity: str | None = None

    @classmethod
    def of(cls, path: Path, header: Dataset) -> SourceFile:
        source = cls(path)
        source.identity = identity_of(header)
        return source

    def __reduce__(self) -> tuple[Any, ...]:  # a path's own carries no attributes into copies and other processes
        return (*super().__reduce__()[:2], {"identity": self.identity})


def identity_of(header: Dataset) -> str:
    """SOP Instance UID (C.12.1), "" where the header has none."""
    return str(header.get("SOPInstanceUID") or "")


@dataclass(frozen=True, eq=False)
class CTSlice:
    """A slice's file, header, place and orientation (C.7.6.2.1.1): NaN where the header has none."""

    path: Path
    header: Dataset
    position: np.ndarray
    orientation: np.ndarray

    def text(self, keyword: str) -> str:
        value = self.header.get(keyword)
        return "" if value is None else str(value)


def slice_positions(volume: Volume) -> np.ndarray:
    """(z, 3) LPS mm of each slice's first voxel; of slices that are not evenly spaced as their headers say."""
    if volume.even:
        k = np.arange(len(volume.hu))
        return (volume.ijk_to_lps @ [0 * k, 0 * k, k, 1 + 0 * k])[:3].T
    headers = (pydicom.dcmread(path, specific_tags=["ImagePositionPatient"], force=True) for path in volume.sources)
    return np.array([[float(v) for v in header.ImagePositionPatient] for header in headers])


@contextmanager
def lenient() -> Iterator[None]:
    """Read and write values that break the standard without a word of pydicom's, which would quote them.

    Those that matter are refused by us.
    """
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def images_in(path: Path) -> list[tuple[Path, Dataset]]:
    """Files with an image and their headers, without pixels: of a folder (searched through, links too), or one file.

    Raises InputError where a file is cut short, so that its slice would be missing, or a link leads nowhere; OSError
    for what cannot be read.
    """
    files = [path] if path.is_file() else list(_files(path))
    images = [image for file in files if (image := _image(file)) is not None]
    suffixes = {file.suffix for file, _ in images}
    if any(file.suffix in suffixes and file.name[0] != "." and not file.stat().st_size for file in files):
        raise InputError(_CUT_SHORT)
    return images


def _files(folder: Path) -> Iterator[Path]:
    """The regular files of a folder and of all below it, each folder once, however many links lead there."""
    count, known = 0, set()
    for root, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        found = os.stat(root)
        if (found.st_dev, found.st_ino) in known:
            folders.clear()
            continue
        known.add((found.st_dev, found.st_ino))
        folders.sort()
        for name in sorted(names):
            count += 1
            if count > _MOST_FILES:
                raise InputError(f"more than {_MOST_FILES} files: name the folder of one series")
            file = Path(root, name)
            try:
                regular = stat.S_ISREG(file.stat().st_mode)
            except FileNotFoundError:
                raise InputError(f"{name} is a link to nothing, and its slice would be missing: mend it") from None
            if regular:
                yield file


def _refuse(error: OSError) -> NoReturn:
    raise error


def _image(path: Path) -> tuple[Path, Dataset] | None:
    """The header of a DICOM image; None for any other file. Raises InputError for a header that ends too early."""
    with path.open("rb") as stream:
        start = stream.read(132)
    # Files of before 1993 start with the group 0008 (or 0002) and without preamble.
    if start[128:] != b"DICM" and start[:2] not in (b"\x08\x00", b"\x02\x00"):
        return None
    kind = None
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS), force=True)
        if "Rows" in header and "SOPClassUID" in header:
            return path, header
        kind = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
    except OSError:
        raise
    except Exception:  # pydicom raises whatever a damaged header provokes
        pass
    if start[128:] == b"DICM" and kind in (None, _CT_IMAGE, *_ENHANCED):
        raise InputError(_CUT_SHORT)
    return None


def ct_slices(images: list[tuple[Path, Dataset]]) -> list[CTSlice]:
    """The single-frame CT images among these. Raises InputError where there is none, and says what there is."""
    kinds: Counter[str] = Counter()
    slices = []
    for file, header in images:
        image_type = {str(v).upper() for v in header.get("ImageType") or ()}
        if header.get("Modality") != "CT":
            kinds[f"modality {header.get('Modality') or 'unknown'}"] += 1
        elif header.SOPClassUID in _ENHANCED or int(header.get("NumberOfFrames") or 1) > 1:
            kinds["multi-frame CT (convert it to classic CT or NRRD)"] += 1
        elif image_type & {"LOCALIZER", "SCOUT", "TOPOGRAM"}:
            kinds["localizer"] += 1
        elif header.SOPClassUID != _CT_IMAGE:
            kinds["screen capture"] += 1
        elif int(header.get("SamplesPerPixel") or 1) != 1:
            kinds["colour image"] += 1
        else:
            position, orientation = header.get("ImagePositionPatient"), header.get("ImageOrientationPatient")
            slices.append(
                CTSlice(
                    file,
                    header,
                    np.array([float(v) for v in position] if position else [np.nan] * 3),
                    np.array([float(v) for v in orientation] if orientation else [np.nan] * 6),
                )
            )
    if not slices:
        found = ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
        raise InputError(f"no CT slices, but {found}: give the folder of a CT series")
    return slices
