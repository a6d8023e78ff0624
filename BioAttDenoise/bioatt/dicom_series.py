"""Choosing and reading one CT series of a DICOM folder: headers by pydicom, pixels by GDCM (every transfer syntax)."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset

from bioatt.errors import InputError
from bioatt.labels import DENOISED_BEFORE, DERIVED_MARK
from bioatt.volume import PADDING_BELOW_HU, Acquisition, Volume, cast

_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
_ENHANCED = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
_MOST_FILES = 50_000
_CUT_SHORT = "a DICOM file is empty or cut short, and its slice would be missing: copy the series again"
_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "Modality", "ImageType", "Rows", "Columns",
    "SamplesPerPixel", "NumberOfFrames", "BitsAllocated", "PixelRepresentation", "PixelPaddingValue", "PixelSpacing",
    "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept", "RescaleType",
    "SliceThickness", "SpacingBetweenSlices", "ConvolutionKernel", "KVP", "PhotometricInterpretation",
    "SeriesDescription",
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
class _Slice:
    path: Path
    header: Dataset
    position: np.ndarray
    orientation: np.ndarray

    def text(self, keyword: str) -> str:
        value = self.header.get(keyword)
        return "" if value is None else str(value)


def read_series(path: Path, series: str | int | None = None) -> Volume:
    """The CT series with the most slices in a folder (searched through), or one DICOM file alone.

    series: SeriesNumber or SeriesInstanceUID, to choose another than the longest.

    HU = stored · RescaleSlope + RescaleIntercept (PS3.3 C.11.1); slices sorted along their normal, towards the head for
    axial ones. Raises InputError where there is no CT, no single largest series, slices that do not fit together, a
    file that is cut short, or a header that holds no numbers where numbers belong; OSError for what cannot be read.
    """
    try:
        with lenient():
            return _read_series(path, series)
    except InputError:
        raise
    except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
        what = " ".join(str(error).split())[:120]
        raise InputError(f"a DICOM header holds a malformed value ({what}): export the series again") from error


@contextmanager
def lenient() -> Iterator[None]:
    """Read and write values that break the standard without a word of pydicom's, which would quote them.

    Those that matter are refused by us.
    """
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _read_series(path: Path, series: str | int | None) -> Volume:
    notes: list[str] = []
    files = [path] if path.is_file() else list(_files(path))
    images = [header for file in files if (header := _header(file)) is not None]
    if not images:
        raise InputError("no DICOM image and no known format: give .nrrd, .nii.gz, .mha or DICOM")
    suffixes = {file.suffix for file, _ in images}
    if any(file.suffix in suffixes and file.name[0] != "." and not file.stat().st_size for file in files):
        raise InputError(_CUT_SHORT)
    stack = _choose(_ct_slices(images), series, notes)
    stack = _ordered(stack, notes)
    hu, slopes = _pixels(stack, notes)
    first = stack[0]
    if DERIVED_MARK in first.text("SeriesDescription"):
        notes.append(DENOISED_BEFORE)
    step, even = _step(stack, notes)
    row_mm, column_mm = (float(v) for v in first.header.get("PixelSpacing") or (0, 0))
    if not row_mm or not column_mm:
        row_mm = column_mm = 1.0
        notes.append("no Pixel Spacing in the header: 1 mm is taken")
    return Volume(
        hu=hu,
        spacing=(column_mm, row_mm, float(np.linalg.norm(step))),
        origin=tuple(first.position),
        direction=np.column_stack([first.orientation[:3], first.orientation[3:], step / np.linalg.norm(step)]),
        acquisition=_acquisition(first.header),
        sources=tuple(SourceFile.of(item.path, item.header) for item in stack),
        padding=_padding(stack, slopes),
        even=even,
        warnings=tuple(notes),
    )


def _files(folder: Path) -> Iterator[Path]:
    count = 0
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            count += 1
            if count > _MOST_FILES:
                raise InputError(f"more than {_MOST_FILES} files: name the folder of one series")
            yield Path(root, name)


def _header(path: Path) -> tuple[Path, Dataset] | None:
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


def _ct_slices(images: list[tuple[Path, Dataset]]) -> list[_Slice]:
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
                _Slice(
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


def _choose(slices: list[_Slice], series: str | int | None, notes: list[str]) -> list[_Slice]:
    """The largest group of slices of one series, size and orientation."""
    groups: list[list[_Slice]] = []
    for item in slices:
        home = next((group for group in groups if _fits(item, group[0])), None)
        if home is None:
            groups.append([item])
        else:
            home.append(item)
    ranked = sorted(groups, key=len, reverse=True)
    listing = "; ".join(f"{_describe(group)} ({group[0].path.name} ...)" for group in ranked[:8])
    if series is not None:
        names = ("SeriesNumber", "SeriesInstanceUID")
        ranked = [group for group in ranked if str(series) in (group[0].text(name) for name in names)]
        if not ranked:
            raise InputError(f"no CT series {series}, but {listing}: choose one of these")
    if len(ranked) > 1 and len(ranked[0]) == len(ranked[1]):
        raise InputError(
            f"{len(ranked)} CT series, the longest of one length: {listing}; name one by its number or UID"
        )
    if len(ranked) > 1:
        unnamed = "; ".join(map(_describe, ranked[:8]))  # a report that notes end in names no file
        notes.append(f"of {len(ranked)} CT series the longest was taken: {unnamed}")
    return ranked[0]


def _fits(one: _Slice, other: _Slice) -> bool:
    """Whether two slices can lie in one volume: same series, matrix, pixels and (to 0.06 degrees) orientation."""
    a, b = one.header, other.header
    return (
        (a.get("SeriesInstanceUID"), a.Rows, a.Columns) == (b.get("SeriesInstanceUID"), b.Rows, b.Columns)
        and np.allclose(a.get("PixelSpacing") or 0, b.get("PixelSpacing") or 0, rtol=1e-4)
        and np.allclose(one.orientation, other.orientation, atol=1e-3, equal_nan=True)
    )


def _describe(group: list[_Slice]) -> str:
    first = group[0]
    parts = [
        f"series {first.text('SeriesNumber') or '?'}",
        f"{len(group)} slices of {first.header.Columns}x{first.header.Rows}",
    ]
    if first.text("SliceThickness"):
        parts.append(f"{float(first.header.SliceThickness):g} mm")
    if first.text("ConvolutionKernel"):
        parts.append(_kernel(first.header) or "")
    return " ".join(parts)


def _ordered(stack: list[_Slice], notes: list[str]) -> list[_Slice]:
    """Sorted along the slices' normal; copies of one image dropped."""
    items = _without_copies(stack, notes)
    if any(np.isnan(item.position).any() or np.isnan(item.orientation).any() for item in items):
        if len(items) > 1:
            raise InputError(
                "slices lack Image Position or Orientation (Patient): their order is unknown; export them again"
            )
        notes.append("no position or orientation in the header: a supine axial slice at 0 is taken")
        only = items[0]
        return [_Slice(only.path, only.header, np.zeros(3), np.array([1.0, 0, 0, 0, 1, 0]))]
    normal = _normal(items[0])
    # Towards the head, the left or the back, whichever the normal is nearest to: independent of row and column signs.
    normal = normal * np.sign(normal[np.argmax(np.abs(normal))])
    items.sort(key=lambda item: float(item.position @ normal))
    gaps = np.diff([item.position @ normal for item in items])
    if (gaps < 1e-3).any():
        count = int((gaps < 1e-3).sum())
        raise InputError(f"slices at the position of another: {count} (phases mixed in one series?); separate them")
    return items


def _without_copies(stack: list[_Slice], notes: list[str]) -> list[_Slice]:
    """Each image once. Raises InputError where different ones have one SOP Instance UID, as some anonymisers write."""
    unique: dict[str, _Slice] = {}
    for item in stack:
        first = unique.setdefault(identity_of(item.header) or str(item.path), item)
        if first is not item and not _same_image(first, item):
            raise InputError("different images share one identity (SOPInstanceUID): export the series again")
    if len(unique) < len(stack):
        notes.append(f"files that are copies of others in the folder, left out: {len(stack) - len(unique)}")
    return list(unique.values())


def _same_image(one: _Slice, other: _Slice) -> bool:
    """Whether place and voxels agree; decoded, since a copy may be compressed differently."""
    return (
        np.array_equal(one.position, other.position, equal_nan=True)
        and np.array_equal(one.orientation, other.orientation, equal_nan=True)
        and np.array_equal(_plane(one), _plane(other))
    )


def _normal(item: _Slice) -> np.ndarray:
    normal = np.cross(item.orientation[:3], item.orientation[3:])
    return normal / np.linalg.norm(normal)


def _step(stack: list[_Slice], notes: list[str]) -> tuple[np.ndarray, bool]:
    """Vector from a slice to the next (mm, LPS), and whether all slices are that far apart."""
    header = stack[0].header
    if len(stack) == 1:
        distance = abs(float(header.get("SpacingBetweenSlices") or header.get("SliceThickness") or 1.0)) or 1.0
        return _normal(stack[0]) * distance, True
    positions = np.array([item.position for item in stack])
    gaps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    step = (positions[-1] - positions[0]) / (len(stack) - 1)
    expected = positions[0] + np.outer(np.arange(len(stack)), step)
    if np.linalg.norm(positions - expected, axis=1).max() <= 0.1 * np.linalg.norm(step):
        return step, True
    typical = float(np.median(gaps))
    missing = int(np.sum(np.rint(gaps / typical) - 1))
    what = f"slices missing: {missing}" if missing > 0 else "slices are unevenly spaced"
    notes.append(f"{what} ({gaps.min():.2f} to {gaps.max():.2f} mm apart): only a DICOM output keeps their places")
    return step * typical / np.linalg.norm(step), False


def _pixels(stack: list[_Slice], notes: list[str]) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """HU (z, y, x) in the narrowest of int16, int32 and float32 that holds all, and (slope, intercept) per slice."""
    slopes, planes = [], []
    _check_rescale(stack, notes)
    for item in stack:
        kind = item.text("RescaleType").upper()
        if kind not in ("", "HU", "US", "HU_MOD"):
            raise InputError(f"{item.path.name} holds values of type {kind}, no HU: give the CT series itself")
        slopes.append((float(item.header.get("RescaleSlope") or 1), float(item.header.get("RescaleIntercept") or 0)))
        plane = (
            _inverted(item, *slopes[-1]) if item.text("PhotometricInterpretation") == "MONOCHROME1" else _plane(item)
        )
        planes.append(_narrowest(plane.reshape(item.header.Rows, item.header.Columns)))
    hu = np.stack(planes)
    return (hu.astype(np.float32, copy=False) if hu.dtype.kind == "f" else hu), slopes


def _check_rescale(stack: list[_Slice], notes: list[str]) -> None:
    """A blank intercept, as some anonymisers leave it, is none; a few slices without one would be 1024 HU off."""
    without = [item for item in stack if item.header.get("RescaleIntercept") in (None, "")]
    if len(without) == len(stack):
        notes.append("no Rescale Intercept in the header: the stored numbers are taken as HU")
    elif without:
        raise InputError(f"{len(without)} of {len(stack)} slices have no Rescale Intercept: export the series again")


def _plane(item: _Slice) -> np.ndarray:
    try:
        return sitk.GetArrayFromImage(sitk.ReadImage(str(item.path), imageIO="GDCMImageIO"))
    except RuntimeError:
        raise InputError(f"{item.path.name} is damaged or truncated: copy it again from its source") from None


def _inverted(item: _Slice, slope: float, intercept: float) -> np.ndarray:
    """HU of an image to be shown dark on bright, which GDCM would invert although its rescale is of stored values.

    pydicom needs a plug-in for JPEG; such rare images are refused.
    """
    try:
        return pydicom.dcmread(item.path, force=True).pixel_array.astype(np.float64) * slope + intercept
    except (NotImplementedError, RuntimeError):
        raise InputError(f"{item.path.name} is compressed MONOCHROME1: export the series uncompressed") from None
    except (AttributeError, EOFError, TypeError, ValueError):
        raise InputError(f"{item.path.name} is damaged or truncated: copy it again from its source") from None


def _narrowest(plane: np.ndarray) -> np.ndarray:
    """As int16 or int32 where that holds the values exactly, else float32."""
    if plane.dtype.kind == "f" and not np.array_equal(plane, np.rint(plane)):
        return plane.astype(np.float32)
    limits = np.iinfo(np.int16)
    fits = limits.min <= plane.min() and plane.max() <= limits.max
    return cast(plane, "int16" if fits else "int32")


def _padding(stack: list[_Slice], slopes: list[tuple[float, float]]) -> tuple[float, ...]:
    """HU of the declared padding values (C.7.5.1.1.2) that lie where tissue, air and metal do not."""
    found = set()
    for item, (slope, intercept) in zip(stack, slopes, strict=True):
        value = item.header.get("PixelPaddingValue")
        if value is None:
            continue
        stored = int(value)
        bits = int(item.header.get("BitsAllocated") or 16)
        stored %= 1 << bits  # written with the wrong sign as often as not
        if item.header.get("PixelRepresentation") == 1 and stored >= 1 << (bits - 1):
            stored -= 1 << bits
        found.add(stored * slope + intercept)
    return tuple(sorted(value for value in found if not PADDING_BELOW_HU <= value <= 30_000))


def _kernel(header: Dataset) -> str | None:
    value = header.get("ConvolutionKernel")
    if value is None or value == "":
        return None
    return str(value) if isinstance(value, str) else str(value[0])


def _acquisition(header: Dataset) -> Acquisition:
    def number(keyword: str) -> float | None:
        value = header.get(keyword)
        return float(value) if value not in (None, "") else None

    return Acquisition(_kernel(header), number("SliceThickness"), number("KVP"), "CT")
