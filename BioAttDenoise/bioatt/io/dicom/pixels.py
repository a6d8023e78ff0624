"""HU of CT images: stored values decoded by GDCM (every transfer syntax) and rescaled (PS3.3 C.11.1)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk

from bioatt.core.errors import InputError
from bioatt.core.hu import cast
from bioatt.io.dicom.slices import CTSlice
from bioatt.io.dicom.streams import check_fragments, check_lengths, is_compressed
from bioatt.io.files import check_name
from bioatt.io.quiet import quiet_stderr

_PADDING_BYTES = 16
"""Allowed bytes after the pixels; the standard allows one, for an even length."""


def pixels(stack: list[CTSlice], notes: list[str]) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """HU (z, y, x) in the narrowest sufficient type of int16, int32 and float32, and (slope, intercept) per slice.

    Raises InputError for a file that is damaged or does not hold HU. Appends warnings for the user to `notes`.
    """
    slopes, planes = [], []
    _check_rescale(stack, notes)
    for item in stack:
        slopes.append((float(item.header.get("RescaleSlope") or 1), float(item.header.get("RescaleIntercept") or 0)))
        plane = (
            _inverted(item, *slopes[-1]) if item.text("PhotometricInterpretation") == "MONOCHROME1" else plane_of(item)
        )
        planes.append(_narrowest(plane.reshape(item.header.Rows, item.header.Columns)))
    hu = np.stack(planes)
    return (hu.astype(np.float32, copy=False) if hu.dtype.kind == "f" else hu), slopes


def _check_rescale(stack: list[CTSlice], notes: list[str]) -> None:
    """Check the rescale values; a blank value, as some anonymisers leave it, counts as missing.

    Slices that lack an intercept others have would be 1024 HU off.
    """
    table = next((item for item in stack if item.header.get("ModalityLUTSequence")), None)
    if table is not None:
        raise InputError(
            f"{table.name} holds its HU in a table (Modality LUT), which is not read: export the series with a "
            "rescale slope and intercept"
        )
    for keyword, name in (("RescaleSlope", "Slope"), ("RescaleIntercept", "Intercept")):
        given = [value for item in stack if (value := item.header.get(keyword)) not in (None, "")]
        if 0 < len(given) < len(stack):
            without = f"{len(stack) - len(given)} of {len(stack)} slices have"
            raise InputError(f"{without} no Rescale {name}: export the series again")
        if not all(math.isfinite(float(value)) for value in given):
            raise InputError(f"a Rescale {name} is not a finite number: export the series again")
        if name == "Slope" and not all(float(value) for value in given):
            raise InputError("a Rescale Slope is 0, which makes all voxels equal: export the series again")
        if not given and keyword == "RescaleIntercept":
            notes.append("no Rescale Intercept in the header: stored values are taken as HU")


def plane_of(item: CTSlice) -> np.ndarray:
    """An image's voxels by GDCM, rescaled. Raises InputError if the file is damaged."""
    _check_stored(item)
    check_name(item.path)
    try:
        with quiet_stderr():
            return sitk.GetArrayFromImage(sitk.ReadImage(str(item.path), imageIO="GDCMImageIO"))
    except RuntimeError:
        raise _damaged(item) from None


def _check_stored(item: CTSlice) -> None:
    """Check the stored pixel data before GDCM decodes them.

    GDCM fills short pixel data from uninitialised memory, misreads unusual bit positions, and allocates as much memory
    as a damaged length or code stream requests.
    """
    try:
        found = pydicom.dcmread(item.path, force=True)
        check_lengths(found)
        bits, high = found.get("BitsStored"), found.get("HighBit")
        element: Any = found.get_item("PixelData") if "PixelData" in found else None
        if element is not None and is_compressed(found):
            check_fragments(element.value, int(item.header.Rows), int(item.header.Columns))
            element = None
    except (InputError, OSError):
        raise
    except Exception:  # a damaged file can make pydicom raise anything
        raise _damaged(item) from None
    if bits is not None and high is not None and high != bits - 1:  # PS3.5 8.1.1
        raise InputError(
            f"{item.name} stores its {bits} bits in an unusual position (High Bit {high}): export it again"
        )
    if element is None:
        return
    wanted = -(-int(item.header.Rows) * int(item.header.Columns) * int(item.header.get("BitsAllocated") or 16) // 8)
    if not wanted <= len(element.value) <= wanted + _PADDING_BYTES:
        raise _damaged(item)


def _damaged(item: CTSlice) -> InputError:
    return InputError(f"{item.name} is damaged or truncated: copy it again from its source")


def _inverted(item: CTSlice, slope: float, intercept: float) -> np.ndarray:
    """HU of a MONOCHROME1 image, which GDCM would invert although the rescale applies to the stored values.

    pydicom needs a plug-in for JPEG, so compressed images of this rare kind are refused.
    """
    try:
        return pydicom.dcmread(item.path, force=True).pixel_array.astype(np.float64) * slope + intercept
    except (NotImplementedError, RuntimeError):
        raise InputError(f"{item.name} is compressed MONOCHROME1: export the series uncompressed") from None
    except (AttributeError, EOFError, TypeError, ValueError):
        raise _damaged(item) from None


def _narrowest(plane: np.ndarray) -> np.ndarray:
    """Convert to int16 or int32 if that holds the values exactly, else to float32."""
    if plane.dtype.kind == "f" and not np.array_equal(plane, np.rint(plane)):
        return plane.astype(np.float32)
    limits = np.iinfo(np.int16)
    fits = limits.min <= plane.min() and plane.max() <= limits.max
    return cast(plane, "int16" if fits else "int32")
