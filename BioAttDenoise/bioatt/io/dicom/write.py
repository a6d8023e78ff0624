"""Writing a denoised volume as a derived DICOM series, based on the source series' headers (PS3.3 C.12.4.1.1)."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import STR_VR

import bioatt
from bioatt.core.errors import BioAttError, InputError
from bioatt.core.provenance import LO_LENGTH, SERIES_NUMBER_OFFSET, series_description, strength_note
from bioatt.core.volume import Volume
from bioatt.io.dicom.frames import Frame, source_header
from bioatt.io.dicom.kinds import CT_IMAGE, sop_class
from bioatt.io.dicom.read import read_series
from bioatt.io.dicom.slices import SourceFile, identity_of, lenient
from bioatt.io.files import atomic_folder, check_folder, check_name

_ST_LENGTH = 1024
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")

# elements that describe or sign the original pixels
_STALE = (
    "SmallestImagePixelValue", "LargestImagePixelValue", "SmallestPixelValueInSeries", "LargestPixelValueInSeries",
    "IconImageSequence", "DigitalSignaturesSequence", "MACParametersSequence", "InstanceCreatorUID",
    "DataSetTrailingPadding", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
)  # fmt: skip


class _Applied(NamedTuple):
    """Applied strength, the requested level or target if any, and the strengths by organ."""

    strength: float
    asked: str
    by_organ: Mapping[str, float]


def write_derived_series(
    volume: Volume,
    folder: str | os.PathLike[str],
    *,
    model_name: str,
    model_version: str,
    strength: float,
    strength_asked: str = "",
    organ_strength: Mapping[str, float] | None = None,
    series_number: int | None = None,
) -> tuple[str, ...]:
    """Write every slice of a denoised volume as a CT image derived from its source file.

    volume: `sources` are its DICOM files in slice order; `Volume.part` chooses the slices. strength_asked (requested
    level or target), organ_strength: for the description. series_number: None for 1000 + the source's.
    The series keeps patient, study, frame of reference, geometry, dose and rescale; its pixels are uncompressed.
    The folder is written atomically, after reading it back and comparing.
    Returns warnings, one line each, about voxels clipped to the range that the series can store.
    Raises InputError if the volume has no DICOM sources, a source's header cannot be rewritten, or the folder cannot be
    written or is not empty.
    """
    folder = Path(folder)
    _check_place(volume, folder)
    series_uid = generate_uid(prefix=None)
    written_at = datetime.now().astimezone()
    applied = _Applied(strength, strength_asked, organ_strength or {})
    ranges, places = [], []
    with atomic_folder(folder) as partial, lenient():
        for k, source in enumerate(volume.sources):
            header = _read_source(source, volume.shape[1:])
            with _rewriting(source):
                places.append(_place(header))
                now = _in_zone(written_at, header)
                _derive(header, series_uid, series_number, now)
                _describe(header, model_name, model_version, applied, now)
                ranges.append(_set_pixels(header, volume.hu[k]))
                header.save_as(partial / f"{k + 1:04d}.dcm", enforce_file_format=True)
        _verify(volume, ranges, places, partial)
    return _clipped(volume, ranges)


def check_series_output(volume: Volume, folder: str | os.PathLike[str]) -> None:
    """Raise InputError if `write_derived_series` would refuse, to check before a long run."""
    _check_place(volume, Path(folder))
    now = datetime.now().astimezone()
    with lenient():
        for source in volume.sources:
            header = _read_source(source, volume.shape[1:])
            with _rewriting(source):
                _derive(header, generate_uid(prefix=None), None, now)
                _describe(header, "", "", _Applied(0.0, "", {}), now)
                _set_pixels(header, np.zeros((1, 1)))
                header.save_as(BytesIO(), enforce_file_format=True)


def _check_place(volume: Volume, folder: Path) -> None:
    if len(volume.sources) != volume.shape[0] or not all(_is_dicom(source) for source in volume.sources):
        raise InputError("a DICOM series needs DICOM input to derive from: name the output .nrrd, .nii.gz or .mha")
    check_name(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder.name} is a file: name a new folder for the DICOM series")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"folder {folder.name} is not empty and is never overwritten: name a new one")
    if any(source.absolute().parent in folder.absolute().parents for source in volume.sources):
        raise InputError(
            f"folder {folder.name} is inside the scan's folder, which would mix the two: name one outside it"
        )
    check_folder(folder if folder.is_dir() else folder.absolute().parent)


@contextmanager
def _rewriting(source: Path) -> Iterator[None]:
    """Turn errors while deriving and writing a header into a one-line InputError."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error):
        raise InputError(
            f"{source.name} has a header that cannot be rewritten: name the output .nrrd, .nii.gz or .mha"
        ) from None


def _derive(derived: Dataset, series_uid: str, series_number: int | None, now: datetime) -> None:
    """Turn a header into that of a new image in a new series, with the original as its source.

    Private and stale elements are removed.
    """
    source = derived.reference if isinstance(derived, Frame) else _reference(derived)
    source.SpatialLocationsPreserved = "YES"
    source.PurposeOfReferenceCodeSequence = [_code("121322", "Source image for image processing operation")]
    _strip(derived)
    correct_ambiguous_vr(derived, is_little_endian=True)
    for keyword in _STALE:
        if keyword in derived:
            delattr(derived, keyword)
    for group in range(0x6000, 0x6020, 2):  # overlays stored in unused bits of the original pixels
        if (group, 0x0010) in derived and (group, 0x3000) not in derived:
            for element in list(derived.group_dataset(group)):
                del derived[element.tag]
    derived.SourceImageSequence = [source]
    derived.SOPInstanceUID = generate_uid(prefix=None)
    derived.SeriesInstanceUID = series_uid
    derived.SeriesNumber = SERIES_NUMBER_OFFSET + _number(derived) if series_number is None else series_number
    derived.ImageType = ["DERIVED", "SECONDARY", *_image_type(derived)]
    for moment in ("InstanceCreation", "Content", "Series"):
        setattr(derived, f"{moment}Date", now.strftime("%Y%m%d"))
        setattr(derived, f"{moment}Time", now.strftime("%H%M%S"))
    derived.file_meta = FileMetaDataset()
    derived.file_meta.MediaStorageSOPClassUID = derived.SOPClassUID
    derived.file_meta.MediaStorageSOPInstanceUID = derived.SOPInstanceUID
    derived.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def _reference(header: Dataset) -> Dataset:
    """Make a reference to the image (C.7.6.1.1.2)."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    return item


def _number(original: Dataset) -> int:
    """The source's Series Number; 0 if missing or not a number."""
    try:
        return int(original.get("SeriesNumber") or 0)
    except (TypeError, ValueError):
        return 0


def _strip(header: Dataset) -> None:
    """Remove private elements, and set the VR of the others in an implicit VR header, without decoding text.

    Text that the declared character set (C.12.1.1.2) cannot decode would be replaced by U+FFFD, so it stays raw and
    pydicom writes its bytes back. To make an implicit VR header explicit, pydicom itself would decode all text.
    """
    for tag in list(header.keys()):
        if tag.is_private:
            del header[tag]
            continue
        element: Any = header.get_item(tag)
        vr = element.VR
        if vr in (None, "UN"):
            vr = dictionary_VR(tag) if dictionary_has_tag(tag) else "UN"
        if vr == "SQ":
            element = header[tag]
            for item in element.value or () if element.VR == "SQ" else ():
                _strip(item)
        elif element.VR is None and vr in STR_VR and element.value is not None:
            header[tag] = element._replace(VR=vr)
        elif element.VR is None:
            _ = header[tag]  # decodes the element, which is then no longer raw
    header.set_original_encoding(False, header.original_encoding[1], header.original_character_set)


def _in_zone(moment: datetime, original: Dataset) -> datetime:
    """Convert a time to the time zone that the header declares (C.12.1.1.8), if any."""
    found = re.fullmatch(r"([+-])(\d\d)([0-5]\d)", str(original.get("TimezoneOffsetFromUTC") or "").strip())
    if found is None:
        return moment
    minutes = int(found[1] + "1") * (60 * int(found[2]) + int(found[3]))
    return moment.astimezone(timezone(timedelta(minutes=minutes))) if -720 <= minutes <= 840 else moment


def _image_type(original: Dataset) -> list[str]:
    """Values 3 onwards of Image Type (C.8.2.1.1.1): those of the source, or AXIAL if value 3 is missing."""
    values = original.get("ImageType") or []
    kind, *more = ([] if isinstance(values, str) else list(values)[2:]) or ["AXIAL"]
    return [kind or "AXIAL", *more]


def _describe(derived: Dataset, model_name: str, model_version: str, applied: _Applied, now: datetime) -> None:
    """Record the processing and its software in the header."""
    before = str(derived.get("SeriesDescription") or "CT")
    derived.SeriesDescription = series_description(before, model_name, applied.strength, asked=applied.asked)
    note = strength_note(applied.strength, applied.by_organ, applied.asked)
    ours = (
        f"CT noise reduced by BioAttDenoise {bioatt.__version__}, model {model_name} {model_version}, "
        f"{note}. Research use only."
    )
    before = str(derived.get("DerivationDescription") or "").strip()[: max(_ST_LENGTH - len(ours) - 2, 0)]
    derived.DerivationDescription = f"{before}; {ours}" if before else ours
    derived.DerivationCodeSequence = [_code("113087", "Smoothing")]  # DCM has no code for denoising

    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = [_code("109102", "Processing Equipment")]
    equipment.Manufacturer = "BioAttDenoise"
    equipment.ManufacturerModelName = model_name[:LO_LENGTH]
    equipment.SoftwareVersions = [bioatt.__version__, f"model {model_version}"[:LO_LENGTH]]
    equipment.ContributionDateTime = now.strftime("%Y%m%d%H%M%S")
    equipment.ContributionDescription = f"Noise reduction, {note}. Research use only."
    derived.ContributingEquipmentSequence = [*(derived.get("ContributingEquipmentSequence") or []), equipment]


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


class _Range(NamedTuple):
    """HU range that an image can store, and its step."""

    low: float
    high: float
    step: float


def _set_pixels(derived: Dataset, hu: np.ndarray) -> _Range:
    """Store HU (rows, columns) with the header's rescale, rounded and clipped to its bits."""
    slope, intercept = float(derived.get("RescaleSlope") or 1), float(derived.get("RescaleIntercept") or 0)
    if "RescaleSlope" not in derived or "RescaleIntercept" not in derived:
        derived.RescaleSlope, derived.RescaleIntercept, derived.RescaleType = slope, intercept, "HU"
    bits, signed = int(derived.BitsStored), int(derived.PixelRepresentation) == 1
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    derived.BitsAllocated = 16 if bits <= 16 else 32
    derived.HighBit = bits - 1
    stored = np.clip(np.rint((hu.astype(np.float64) - intercept) / slope), low, high)
    derived.PixelData = stored.astype(f"<{'i' if signed else 'u'}{derived.BitsAllocated // 8}").tobytes()
    derived["PixelData"].VR = "OW"
    ends = sorted((low * slope + intercept, high * slope + intercept))
    return _Range(ends[0], ends[1], abs(slope))


def _clipped(volume: Volume, ranges: list[_Range]) -> tuple[str, ...]:
    """Warn about the number of voxels that the series could not store, and by how much they were clipped."""
    count, most = 0, 0.0
    for hu, (low, high, step) in zip(volume.hu, ranges, strict=True):
        over = np.maximum(low - hu, hu - high)
        count += int(np.count_nonzero(over > step / 2))
        most = max(most, float(over.max()))
    if count == 0:
        return ()
    low, high = min(r.low for r in ranges), max(r.high for r in ranges)
    return (f"{count} voxels clipped by up to {most:.0f} HU to the series' range, {low:.0f} to {high:.0f} HU",)


def _read_source(source: Path, shape: tuple[int, int]) -> Dataset:
    try:
        original = source_header(source, getattr(source, "frame", None))
    except OSError:
        raise InputError(
            f"{source.name} is missing or unreadable: restore it, since the derived series needs its header"
        ) from None
    meta, said = original.file_meta, identity_of(original)
    original.SOPClassUID = sop_class(original) or CT_IMAGE
    if not original.get("SOPInstanceUID") and meta.get("MediaStorageSOPInstanceUID"):
        original.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    known = source.identity if isinstance(source, SourceFile) else None
    replaced = known is not None and said != known
    if not original.original_encoding[1]:
        raise InputError(
            f"{source.name} is big-endian, which cannot be written: name the output .nrrd, .nii.gz or .mha"
        )
    if replaced or (original.get("Rows"), original.get("Columns")) != shape:
        raise InputError(f"{source.name} has changed since it was read: run again")
    return original


def _is_dicom(source: Path) -> bool:
    try:
        with source.open("rb") as stream:
            start = stream.read(132)
    except OSError:
        return False
    return start[128:] == b"DICM" or start[:2] in (b"\x08\x00", b"\x02\x00")


def _verify(volume: Volume, ranges: list[_Range], places: list[list[Any]], folder: Path) -> None:
    """Read the series back (headers by pydicom, pixels by GDCM) and check its voxels and positions.

    Voxels must agree to half a rescale step. places: `_place` of each source, since slices need not be evenly spaced.
    """
    written = read_series(folder)
    if not (
        written.shape == volume.shape
        and all(
            np.abs(hu - np.clip(meant, low, high)).max() <= step / 2 + 1e-3
            for hu, meant, (low, high, step) in zip(written.hu, volume.hu, ranges, strict=True)
        )
        and [_place(pydicom.dcmread(path, specific_tags=list(_PLACE))) for path in written.sources] == places
    ):
        raise BioAttError("the DICOM series does not read back as it was written: please report it")


def _place(header: Dataset) -> list[Any]:
    return [list(header.get(name) or ()) for name in _PLACE]
