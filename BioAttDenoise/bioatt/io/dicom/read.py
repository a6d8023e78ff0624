"""One CT series of a DICOM folder as a volume: which images belong together, in which order, at which places."""

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
"""Degrees between the slices' orientations that are more than the rounding of cosines to three digits."""
_WANDER_MM = 0.1
"""Deviation of a slice from its place in an even stack that is more than the rounding of positions."""
_WHOLE = 0.1
"""How near a gap must be to a whole multiple of the usual one to be told as missing slices."""


def read_series(path: Path | Sequence[Path], series: str | int | None = None, phase: str | int | None = None) -> Volume:
    """The CT series with the most slices in a folder (searched through) or among files, or one DICOM file alone.

    series: SeriesNumber or SeriesInstanceUID, to choose another than the longest. phase: which of several volumes in
    that series, by its number from 1 or by what tells it apart.

    HU = stored · RescaleSlope + RescaleIntercept (PS3.3 C.11.1); slices sorted along their normal, towards the head for
    axial ones. Raises InputError if there is no CT, no single largest series, slices that do not fit together, a
    file that is cut short, or a header that holds no numbers where numbers belong; OSError for what cannot be read.
    """
    with lenient(), _malformed_values_told():
        return _read_series(path, series, phase)


@contextmanager
def _malformed_values_told() -> Iterator[None]:
    """What a header provokes that holds no numbers where numbers belong, as one line."""
    try:
        yield
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError) as error:
        what = " ".join(str(error).split())[:120]
        raise InputError(f"a DICOM header holds a malformed value ({what}): export the series again") from error


@lru_cache(maxsize=8)
def check_headers(files: tuple[str, ...]) -> tuple[str, ...]:
    """What the headers of a volume's files say that a person should know; files that cannot be read say nothing.

    For voxels that another program has read. Raises InputError if the files are no CT in HU, and
    SeveralVolumesError if their slices belong to several phases.
    """
    there = [file for file in map(Path, files) if file.is_file() and os.access(file, os.R_OK)]
    with lenient(), _malformed_values_told(), ExitStack() as scratch:
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
            "the series' folder, which writes each",
            names,
        )
    return tuple(notes)


def ct_images(path: Path | Sequence[Path], scratch: ExitStack) -> list[CTSlice]:
    """The CT slices of a file, folder or several files; frames of enhanced CT lie in files until scratch is closed.

    Raises InputError if there are none, and says what there is.
    """
    images = images_in(path)
    if not images and isinstance(path, Path) and path.is_file() and is_directory(path):
        raise InputError("the index of a DICOM medium, without images: give the folder that it lies in")
    if not images:
        raise InputError("no DICOM image and no known format: give .nrrd, .nii.gz, .mha or DICOM")
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
        notes.append("no Pixel Spacing in the header: 1 mm is taken")
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
    """What the slices' headers say that a person should know, each line once."""
    notes = [line for item in stack for line in header_warnings(item.header)]
    first = stack[0]
    if DERIVED_MARK in first.text("SeriesDescription"):
        notes.append(DENOISED_BEFORE)
    elif (method := reconstruction(first.header)) is not None:
        notes.append(reconstruction_warning(method))
    if first.enhanced is not None:
        notes.append(
            "enhanced multi-frame CT: each frame is taken for a classic image, a DICOM output is a classic series"
        )
    unnamed = sum(not item.header.get("SOPClassUID") for item in stack)
    if unnamed:
        notes.append(
            f"{unnamed} of {len(stack)} images do not say that they are CT (SOP Class UID): taken for CT slices"
        )
    angle = max(turned(item, first) for item in stack)
    if angle > _TURNED_NOTE:
        notes.append(f"the slices' orientations differ by up to {angle:.2f} degrees: the first one's is taken for all")
    return list(dict.fromkeys(notes))


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
        return [replace(only, position=np.zeros(3), orientation=np.array([1.0, 0, 0, 0, 1, 0]))]
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
    """Each image once. Raises InputError if different ones have one SOP Instance UID, as some anonymisers write."""
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
    wander = np.linalg.norm(positions - expected, axis=1).max()
    if wander <= 0.1 * np.linalg.norm(step):
        if wander > _WANDER_MM:
            notes.append(f"positions wander by up to {wander:.2f} mm: only a DICOM output keeps them")
        return step, True
    typical = float(np.median(gaps))
    ratios = gaps / typical
    whole = np.abs(ratios - np.rint(ratios)) <= _WHOLE
    missing = int(np.sum(np.rint(ratios) - 1)) if whole.all() else 0
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
    return tuple(sorted(value for value in found if not PADDING_BELOW_HU <= value <= PADDING_ABOVE_HU))


def _acquisition(header: Dataset) -> Acquisition:
    def number(keyword: str) -> float | None:
        value = header.get(keyword)
        return float(value) if value not in (None, "") else None

    return Acquisition(kernel_of(header), number("SliceThickness"), number("KVP"), "CT")
