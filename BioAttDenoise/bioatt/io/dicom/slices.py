"""Finding the CT images among the files of a folder by their headers (pydicom)."""

from __future__ import annotations

import os
import stat
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from bioatt.core.errors import InputError
from bioatt.core.volume import Volume
from bioatt.io.dicom.frames import source_header, unfold
from bioatt.io.dicom.kinds import CT_IMAGE, ENHANCED, MULTI_FRAME, kind_of, sop_class
from bioatt.io.dicom.streams import DamagedStreamError

_DIRECTORY = "1.2.840.10008.1.3.10"
_MOST_FILES = 50_000
_CUT_SHORT = "is empty or truncated, so its slice would be missing: copy the series again"
_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "Modality", "ImageType", "Rows", "Columns",
    "SamplesPerPixel", "NumberOfFrames", "BitsAllocated", "PixelRepresentation", "PixelPaddingValue", "PixelSpacing",
    "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept", "RescaleType",
    "SliceThickness", "SpacingBetweenSlices", "ConvolutionKernel", "KVP", "PhotometricInterpretation",
    "SeriesDescription", "StudyInstanceUID", "PatientID", "AcquisitionNumber", "AcquisitionDateTime",
    "AcquisitionTime", "TemporalPositionIdentifier", "NominalPercentageOfCardiacPhase", "TriggerTime",
    "ContrastBolusAgent", "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
    "ReconstructionAlgorithm", "DerivationDescription", "ModalityLUTSequence", "CTDIvol", "PatientAge",
    "PatientBirthDate", "StudyDate",
]  # fmt: skip


class SourceFile(type(Path())):  # type: ignore[misc]
    """Path of a slice's file with the identity of its image, to detect another image under the same name.

    identity: `identity_of` its header when it was read; None for paths derived from this one.
    frame: index in an enhanced CT, from 0; None for a file with one slice.
    """

    identity: str | None = None
    frame: int | None = None

    @classmethod
    def of(cls, item: CTSlice) -> SourceFile:
        source = cls(item.path if item.enhanced is None else item.enhanced)
        source.identity = identity_of(item.header)
        source.frame = None if item.enhanced is None else int(item.path.stem)
        return source

    def __reduce__(self) -> tuple[Any, ...]:  # Path.__reduce__ drops attributes in copies and other processes
        return (*super().__reduce__()[:2], {"identity": self.identity, "frame": self.frame})


def identity_of(header: Dataset) -> str:
    """SOP Instance UID (C.12.1), "" if the header has none."""
    return str(header.get("SOPInstanceUID") or "")


@dataclass(frozen=True, eq=False)
class CTSlice:
    """A slice's file, header, position and orientation (C.7.6.2.1.1), NaN if the header has none.

    enhanced: the multi-frame file from which this file, FRAME.dcm, was unfolded.
    """

    path: Path
    header: Dataset
    position: np.ndarray
    orientation: np.ndarray
    enhanced: Path | None = None

    @property
    def name(self) -> str:
        return (self.enhanced or self.path).name

    def text(self, keyword: str) -> str:
        value = self.header.get(keyword)
        return "" if value is None else str(value)


def slice_positions(volume: Volume) -> np.ndarray:
    """(z, 3) position of each slice's first voxel, LPS mm; from the headers if the slices are unevenly spaced."""
    if volume.even:
        k = np.arange(len(volume.hu))
        return (volume.ijk_to_lps @ [0 * k, 0 * k, k, 1 + 0 * k])[:3].T
    headers = (source_header(path, getattr(path, "frame", None)) for path in volume.sources)
    return np.array([[float(v) for v in header.ImagePositionPatient] for header in headers])


@contextmanager
def lenient() -> Iterator[None]:
    """Silence pydicom's warnings about values that violate the standard, since the warnings quote them.

    This package itself refuses those that matter.
    """
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def images_in(path: Path | Sequence[Path]) -> list[tuple[Path, Dataset]]:
    """Image files and their headers without pixels, from files or a folder (searched recursively, following links).

    Raises InputError if a file is truncated, so that its slice would be missing, or a link is broken; OSError if
    something cannot be read.
    """
    if isinstance(path, Path):
        path = [path] if path.is_file() else [*_files(path)]
    files = path
    images = [image for file in files if (image := image_header(file)) is not None]
    suffixes = {file.suffix for file, _ in images}
    for file in files:
        if file.suffix in suffixes and file.name[0] != "." and not file.stat().st_size:
            raise InputError(f"{file.name} {_CUT_SHORT}")
    return images


def folders_below(
    folder: Path, unreadable: Callable[[OSError], object] | None = None
) -> Iterator[tuple[Path, list[str]]]:
    """Yield a folder and all its subfolders with their sorted file names, each once even if linked several times."""
    known = set()
    for root, folders, names in os.walk(folder, onerror=unreadable, followlinks=True):
        found = os.stat(root)
        if (found.st_dev, found.st_ino) in known:
            folders.clear()
            continue
        known.add((found.st_dev, found.st_ino))
        folders.sort()
        yield Path(root), sorted(names)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the regular files of a folder and all its subfolders."""
    count = 0
    for root, names in folders_below(folder, _refuse):
        for name in names:
            count += 1
            if count > _MOST_FILES:
                raise InputError(f"more than {_MOST_FILES} files: name the folder of one series")
            file = root / name
            try:
                regular = stat.S_ISREG(file.stat().st_mode)
            except FileNotFoundError:
                raise InputError(
                    f"{name} is a broken link, so its slice would be missing: repair or remove it"
                ) from None
            if regular:
                yield file


def _refuse(error: OSError) -> NoReturn:
    raise error


def image_header(path: Path) -> tuple[Path, Dataset] | None:
    """The header of a DICOM image; None for any other file. Raises InputError for a truncated header."""
    with path.open("rb") as stream:
        start = stream.read(132)
    # files from before 1993 start with group 0008 (or 0002) and have no preamble
    if start[128:] != b"DICM" and start[:2] not in (b"\x08\x00", b"\x02\x00"):
        return None
    kind = ""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS), force=True)
        kind = sop_class(header)
        if "Rows" in header and ("SOPClassUID" in header or "Modality" in header):
            return path, header
    except OSError:
        raise
    except Exception:  # a damaged header can make pydicom raise anything
        pass
    if kind == _DIRECTORY:
        return None
    if start[128:] == b"DICM" and any(
        uid.startswith(kind) for uid in (CT_IMAGE, *ENHANCED)
    ):  # it may be truncated there
        raise InputError(f"{path.name} {_CUT_SHORT}")
    return None


def is_directory(path: Path) -> bool:
    """Whether a file is the index of a DICOM medium (DICOMDIR)."""
    try:
        meta = pydicom.filereader.read_file_meta_info(path)
    except Exception:  # a damaged header can make pydicom raise anything
        return False
    return meta.get("MediaStorageSOPClassUID") == _DIRECTORY


def ct_slices(images: list[tuple[Path, Dataset]], scratch: ExitStack) -> list[CTSlice]:
    """Select the CT slices in HU; frames of enhanced CT are unfolded and exist until `scratch` is closed.

    Raises InputError, which lists what was found, if there is none, and for a malformed value in a CT header.
    """
    kinds: Counter[str] = Counter()
    slices: list[CTSlice] = []
    for file, header in images:
        with damaged_header(file):
            kind = kind_of(header)
            if not kind.usable:
                kinds[kind.name] += 1
                continue
            if kind is MULTI_FRAME:
                folder = Path(scratch.enter_context(tempfile.TemporaryDirectory()))
                frames = [frame for frame in enumerate(unfold(file, folder)) if kind_of(frame[1]).usable]
                slices += [ct_slice(folder / f"{number}.dcm", frame, file) for number, frame in frames]
                continue
            for _ in header:  # pydicom decodes values on access
                pass
            slices.append(ct_slice(file, header))
    if not slices:
        found = ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
        raise InputError(f"no CT slices, only {found}: give the folder of a CT series")
    return slices


@contextmanager
def damaged_header(file: Path) -> Iterator[None]:
    """Turn any error from a file's header into a one-line InputError that names the file."""
    try:
        yield
    except (InputError, OSError, MemoryError):
        raise
    except DamagedStreamError:
        raise InputError(f"{file.name} is damaged or truncated: copy it again from its source") from None
    except Exception as error:  # a damaged header can make pydicom raise anything
        what = " ".join(str(error).split())[:120]
        raise InputError(f"{file.name} holds a malformed value ({what}): export the series again") from None


def ct_slice(file: Path, header: Dataset, enhanced: Path | None = None) -> CTSlice:
    """Make a slice with its position and orientation from the header."""
    position, orientation = header.get("ImagePositionPatient"), header.get("ImageOrientationPatient")
    return CTSlice(
        file,
        header,
        np.array([float(v) for v in position] if position else [np.nan] * 3),
        np.array([float(v) for v in orientation] if orientation else [np.nan] * 6),
        enhanced,
    )


def kernel_of(header: Dataset) -> str | None:
    """Convolution Kernel (0018,1210), the first of several values."""
    value = header.get("ConvolutionKernel")
    if value is None or value == "":
        return None
    return str(value) if isinstance(value, str) else str(value[0])
