"""One CT series of a DICOM folder as a volume: which images belong together, in which order, at which places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from bioatt.core.errors import InputError
from bioatt.core.provenance import DENOISED_BEFORE, DERIVED_MARK
from bioatt.core.volume import PADDING_BELOW_HU, Acquisition, Volume
from bioatt.io.dicom_pixels import pixels, plane_of
from bioatt.io.dicom_slices import CTSlice, SourceFile, ct_slices, identity_of, images_in, lenient

_OF_A_SERIES = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber")


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


def _read_series(path: Path, series: str | int | None) -> Volume:
    notes: list[str] = []
    images = images_in(path)
    if not images:
        raise InputError("no DICOM image and no known format: give .nrrd, .nii.gz, .mha or DICOM")
    stack = _choose(ct_slices(images), series, notes)
    stack = _ordered(stack, notes)
    hu, slopes = pixels(stack, notes)
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


def _choose(slices: list[CTSlice], series: str | int | None, notes: list[str]) -> list[CTSlice]:
    """The largest group of slices of one series, size and orientation."""
    groups: list[list[CTSlice]] = []
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
            f"{len(ranked)} CT series, the longest of one length: {listing}; name one by its number or UID, or "
            "put it into a folder of its own"
        )
    if len(ranked) > 1:
        unnamed = "; ".join(map(_describe, ranked[:8]))  # a report that notes end in names no file
        notes.append(f"of {len(ranked)} CT series the longest was taken: {unnamed}")
    return ranked[0]


def _fits(one: CTSlice, other: CTSlice) -> bool:
    """Whether two slices can lie in one volume: same series, matrix, pixels and (to 0.06 degrees) orientation.

    A series UID alone does not tell a series: careless anonymisers leave it blank, or give one to all.
    """
    a, b = one.header, other.header
    return (
        all(one.text(keyword) == other.text(keyword) for keyword in _OF_A_SERIES)
        and (_kernel(a) or _kernel(b)) == (_kernel(b) or _kernel(a))
        and (a.Rows, a.Columns) == (b.Rows, b.Columns)
        and np.allclose(a.get("PixelSpacing") or 0, b.get("PixelSpacing") or 0, rtol=1e-4)
        and np.allclose(one.orientation, other.orientation, atol=1e-3, equal_nan=True)
    )


def _describe(group: list[CTSlice]) -> str:
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


def _ordered(stack: list[CTSlice], notes: list[str]) -> list[CTSlice]:
    """Sorted along the slices' normal; copies of one image dropped."""
    items = _without_copies(stack, notes)
    if any(np.isnan(item.position).any() or np.isnan(item.orientation).any() for item in items):
        if len(items) > 1:
            raise InputError(
                "slices lack Image Position or Orientation (Patient): their order is unknown; export them again"
            )
        notes.append("no position or orientation in the header: a supine axial slice at 0 is taken")
        only = items[0]
        return [CTSlice(only.path, only.header, np.zeros(3), np.array([1.0, 0, 0, 0, 1, 0]))]
    normal = _normal(items[0])
    # Towards the head, the left or the back, whichever the normal is nearest to: independent of row and column signs.
    normal = normal * np.sign(normal[np.argmax(np.abs(normal))])
    items.sort(key=lambda item: float(item.position @ normal))
    gaps = np.diff([item.position @ normal for item in items])
    if (gaps < 1e-3).any():
        count = int((gaps < 1e-3).sum())
        raise InputError(f"slices at the position of another: {count} (phases mixed in one series?); separate them")
    return items


def _without_copies(stack: list[CTSlice], notes: list[str]) -> list[CTSlice]:
    """Each image once. Raises InputError where different ones have one SOP Instance UID, as some anonymisers write."""
    unique: dict[str, CTSlice] = {}
    for item in stack:
        first = unique.setdefault(identity_of(item.header) or str(item.path), item)
        if first is not item and not _same_image(first, item):
            raise InputError("different images share one identity (SOPInstanceUID): export the series again")
    if len(unique) < len(stack):
        notes.append(f"files that are copies of others in the folder, left out: {len(stack) - len(unique)}")
    return list(unique.values())


def _same_image(one: CTSlice, other: CTSlice) -> bool:
    """Whether place and voxels agree; decoded, since a copy may be compressed differently."""
    return (
        np.array_equal(one.position, other.position, equal_nan=True)
        and np.array_equal(one.orientation, other.orientation, equal_nan=True)
        and np.array_equal(plane_of(one), plane_of(other))
    )


def _normal(item: CTSlice) -> np.ndarray:
    normal = np.cross(item.orientation[:3], item.orientation[3:])
    return normal / np.linalg.norm(normal)


def _step(stack: list[CTSlice], notes: list[str]) -> tuple[np.ndarray, bool]:
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


def _padding(stack: list[CTSlice], slopes: list[tuple[float, float]]) -> tuple[float, ...]:
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
