"""Reading a CT series from a DICOM folder as a volume: choice, order and positions of its images."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from bioatt.core.errors import InputError, SeveralVolumesError
from bioatt.core.hu import PADDING_ABOVE_HU, PADDING_BELOW_HU
from bioatt.core.provenance import DENOISED_BEFORE, DERIVED_MARK
from bioatt.core.volume import Acquisition, Volume
from bioatt.io.dicom.groups import choose, describe, groups_of, turned
from bioatt.io.dicom.kinds import MULTI_FRAME, header_warnings, kind_of
from bioatt.io.dicom.pixels import pixels, plane_of
from bioatt.io.dicom.reconstructions import reconstruction, reconstruction_warning
from bioatt.io.dicom.slices import (
    CTSlice,
    SourceFile,
    ct_slices,
    identity_of,
    images_in,
    is_directory,
    kernel_of,
    lenient,
)

_TURNED_NOTE = 0.06
"""Angle in degrees between slice orientations that exceeds the rounding of cosines to three digits."""
_WANDER_MM = 0.1
"""Deviation of a slice from its position in an evenly spaced stack that exceeds rounding."""
_WHOLE = 0.1
"""Largest deviation of a gap from a multiple of the usual one to be reported as missing slices."""


def read_series(path: Path | Sequence[Path], series: str | int | None = None, phase: str | int | None = None) -> Volume:
    """Read the CT series with the most slices from a folder (searched recursively), several files, or one DICOM file.

    series: SeriesNumber or SeriesInstanceUID, to choose a series other than the longest. phase: one of several volumes
    in that series, by its number from 1 or its distinguishing label.

    HU = stored · RescaleSlope + RescaleIntercept (PS3.3 C.11.1); slices are sorted along their normal, axial ones
    towards the head. Raises InputError for no CT, no single largest series, inconsistent slices, a truncated file, or a
    header with a malformed number; OSError if something cannot be read.
    """
    with lenient(), _malformed_values_reported():
        return _read_series(path, series, phase)


@contextmanager
def _malformed_values_reported() -> Iterator[None]:
    """Turn errors from malformed numbers in a header into a one-line InputError."""
    try:
        yield
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError) as error:
        what = " ".join(str(error).split())[:120]
        raise InputError(f"a DICOM header holds a malformed value ({what}): export the series again") from error


@lru_cache(maxsize=8)
def check_headers(files: tuple[str, ...]) -> tuple[str, ...]:
    """Warnings from the headers of a volume's files, for voxels that another program has read.

    Unreadable files are skipped. Raises InputError if the files are not a CT in HU, and SeveralVolumesError if their
    slices belong to several phases.
    """
    there = [file for file in map(Path, files) if file.is_file() and os.access(file, os.R_OK)]
    with lenient(), _malformed_values_reported(), ExitStack() as scratch:
        images = [image for file in there for image in images_in(file)]
        classic = [image for image in images if kind_of(image[1]) is not MULTI_FRAME]
        if not classic:
            return tuple(dict.fromkeys(line for _, header in images for line in header_warnings(header)))
        slices = ct_slices(classic, scratch)
        groups, notes = groups_of(slices), _header_notes(slices)
    if any(group.phase for group in groups):
        names = [describe(group, groups[0]) for group in groups]
        raise SeveralVolumesError(
            f"its slices belong to {len(groups)} volumes, {'; '.join(names[:8])}: load one of them alone, or denoise "
            "the series folder, which writes each",
            names,
        )
    return tuple(notes)


def ct_images(path: Path | Sequence[Path], scratch: ExitStack) -> list[CTSlice]:
    """CT slices of a file, folder or several files; frames of enhanced CT are in files until `scratch` is closed.

    Raises InputError, which lists what was found instead, if there are none.
    """
    images = images_in(path)
    if not images and isinstance(path, Path) and path.is_file() and is_directory(path):
        raise InputError("this is the index of a DICOM medium, without images: give the folder that contains it")
    if not images:
        raise InputError("not a DICOM image or known format: give .nrrd, .nii.gz, .mha or DICOM")
    return ct_slices(images, scratch)


def _read_series(path: Path | Sequence[Path], series: str | int | None, phase: str | int | None) -> Volume:
    with ExitStack() as scratch:
        stack, notes = choose(ct_images(path, scratch), series, phase)
        stack = _ordered(stack, notes)
        hu, slopes = pixels(stack, notes)
    first = stack[0]
    notes += _header_notes(stack)
    step, even = _step(stack, notes)
    row_mm, column_mm = (float(v) for v in first.header.get("PixelSpacing") or (0, 0))
    if not row_mm or not column_mm:
        row_mm = column_mm = 1.0
        notes.append("no Pixel Spacing in the header: 1 mm is assumed")
    return Volume(
        hu=hu,
        spacing=(column_mm, row_mm, float(np.linalg.norm(step))),
        origin=tuple(first.position),
        direction=np.column_stack([_unit(first.orientation[:3]), _unit(first.orientation[3:]), _unit(step)]),
        acquisition=_acquisition(first.header),
        sources=tuple(SourceFile.of(item) for item in stack),
        padding=_padding(stack, slopes),
        rescale=tuple(slopes) if hu.dtype.kind == "f" or any(abs(slope) > 1 for slope, _ in slopes) else (),
        even=even,
        warnings=tuple(notes),
    )


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _header_notes(stack: list[CTSlice]) -> list[str]:
    """Warnings from the slices' headers, without duplicates."""
    notes = [line for item in stack for line in header_warnings(item.header)]
    first = stack[0]
    if DERIVED_MARK in first.text("SeriesDescription"):
        notes.append(DENOISED_BEFORE)
    elif (method := reconstruction(first.header)) is not None:
        notes.append(reconstruction_warning(method))
    if first.enhanced is not None:
        notes.append(
            "enhanced multi-frame CT: each frame is read as a classic image; a DICOM output is a classic series"
        )
    unnamed = sum(not item.header.get("SOPClassUID") for item in stack)
    if unnamed:
        notes.append(f"{unnamed} of {len(stack)} images have no SOP Class UID: assumed to be CT slices")
    angle = max(turned(item, first) for item in stack)
    if angle > _TURNED_NOTE:
        notes.append(f"slice orientations differ by up to {angle:.2f} degrees: the first slice's is used for all")
    return list(dict.fromkeys(notes))


def _ordered(stack: list[CTSlice], notes: list[str]) -> list[CTSlice]:
    """Sort the slices along their normal and drop copies of the same image."""
    items = _without_copies(stack, notes)
    if any(np.isnan(item.position).any() or np.isnan(item.orientation).any() for item in items):
        if len(items) > 1:
            raise InputError(
                "slices lack Image Position or Orientation (Patient): their order is unknown; export them again"
            )
        notes.append("no position or orientation in the header: a supine axial slice at 0 is assumed")
        only = items[0]
        return [replace(only, position=np.zeros(3), orientation=np.array([1.0, 0, 0, 0, 1, 0]))]
    normal = _normal(items[0])
    # towards the head, left or back, whichever is nearest to the normal: independent of row and column signs
    normal = normal * np.sign(normal[np.argmax(np.abs(normal))])
    items.sort(key=lambda item: float(item.position @ normal))
    gaps = np.diff([item.position @ normal for item in items])
    if (gaps < 1e-3).any():
        count = int((gaps < 1e-3).sum())
        raise InputError(f"{count} slices share a position with another (phases mixed in one series?): separate them")
    return items


def _without_copies(stack: list[CTSlice], notes: list[str]) -> list[CTSlice]:
    """Drop copies of an image. Raises InputError if different images share a SOP Instance UID.

    Some anonymisers write such series.
    """
    unique: dict[str, CTSlice] = {}
    for item in stack:
        first = unique.setdefault(identity_of(item.header) or str(item.path), item)
        if first is not item and not _same_image(first, item):
            raise InputError("different images share one SOPInstanceUID: export the series again")
    if len(unique) < len(stack):
        notes.append(f"skipped copies of other files in the folder: {len(stack) - len(unique)}")
    return list(unique.values())


def _same_image(one: CTSlice, other: CTSlice) -> bool:
    """Whether position and decoded voxels agree; a copy may be compressed differently."""
    return (
        np.array_equal(one.position, other.position, equal_nan=True)
        and np.array_equal(one.orientation, other.orientation, equal_nan=True)
        and np.array_equal(plane_of(one), plane_of(other))
    )


def _normal(item: CTSlice) -> np.ndarray:
    normal = np.cross(item.orientation[:3], item.orientation[3:])
    return normal / np.linalg.norm(normal)


def _step(stack: list[CTSlice], notes: list[str]) -> tuple[np.ndarray, bool]:
    """Vector from one slice to the next (mm, LPS), and whether all slices are evenly spaced by it."""
    header = stack[0].header
    if len(stack) == 1:
        distance = abs(float(header.get("SpacingBetweenSlices") or header.get("SliceThickness") or 1.0)) or 1.0
        return _normal(stack[0]) * distance, True
    positions = np.array([item.position for item in stack])
    gaps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    step = (positions[-1] - positions[0]) / (len(stack) - 1)
    expected = positions[0] + np.outer(np.arange(len(stack)), step)
    wander = np.linalg.norm(positions - expected, axis=1).max()
    if wander <= 0.1 * np.linalg.norm(step):
        if wander > _WANDER_MM:
            notes.append(
                f"slice positions deviate by up to {wander:.2f} mm from even spacing: only a DICOM output keeps them"
            )
        return step, True
    typical = float(np.median(gaps))
    ratios = gaps / typical
    whole = np.abs(ratios - np.rint(ratios)) <= _WHOLE
    missing = int(np.sum(np.rint(ratios) - 1)) if whole.all() else 0
    what = f"slices missing: {missing}" if missing > 0 else "slices are unevenly spaced"
    notes.append(f"{what} ({gaps.min():.2f} to {gaps.max():.2f} mm apart): only a DICOM output keeps their positions")
    return step * typical / np.linalg.norm(step), False


def _padding(stack: list[CTSlice], slopes: list[tuple[float, float]]) -> tuple[float, ...]:
    """HU of the declared padding values (C.7.5.1.1.2) that lie outside the range of tissue, air and metal."""
    found = set()
    for item, (slope, intercept) in zip(stack, slopes, strict=True):
        value = item.header.get("PixelPaddingValue")
        if value is None:
            continue
        stored = int(value)
        bits = int(item.header.get("BitsAllocated") or 16)
        stored %= 1 << bits  # often written with the wrong sign
        if item.header.get("PixelRepresentation") == 1 and stored >= 1 << (bits - 1):
            stored -= 1 << bits
        found.add(stored * slope + intercept)
    return tuple(sorted(value for value in found if not PADDING_BELOW_HU <= value <= PADDING_ABOVE_HU))


def _acquisition(header: Dataset) -> Acquisition:
    def number(keyword: str) -> float | None:
        value = header.get(keyword)
        return float(value) if value not in (None, "") else None

    return Acquisition(kernel_of(header), number("SliceThickness"), number("KVP"), "CT")
