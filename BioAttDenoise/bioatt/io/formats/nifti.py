"""Reading NIfTI-1 and NIfTI-2 (nifti1.h, nifti2.h) without ITK.

ITK fills truncated data with zeros, turns NaN into water, and silently chooses between contradictory geometries.
"""

from __future__ import annotations

import gzip
import itertools
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from bioatt.core.errors import InputError, SeveralVolumesError
from bioatt.core.geometry import nearest_orthogonal
from bioatt.io.formats.inflate import BROKEN, CHUNK, unpacked

SHEAR_MM = 0.1
"""Largest shift of the volume's last voxel by a sheared axis that still counts as rounding of a right angle."""
DIFFERENCE_MM = 0.1
"""Largest distance between corner voxels by sform and qform that still counts as equal; both are stored as float32."""
_MM = {1: 1e3, 3: 1e-3}  # metres and micrometres; all else is millimetres (NIFTI_UNITS)
_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_BITS = {1: 1, 32: 64, 128: 24, 1536: 128, 1792: 128, 2048: 256, 2304: 32}
_MANY_VALUES = (32, 128, 1792, 2048, 2304)  # complex numbers and colours
_PAIR = (b"ni1", b"ni2")


class _Places(NamedTuple):
    """Offsets and types (`struct` codes) of the header fields in one NIfTI version."""

    dim: tuple[int, str]
    datatype: int
    bits: int
    pixdim: tuple[int, str]
    offset: tuple[int, str]
    slope: tuple[int, str]
    units: tuple[int, str]
    description: int
    codes: tuple[int, str]
    quaternion: tuple[int, str]
    rows: tuple[int, str]
    magic: int


_PLACES = {
    348: _Places(
        (40, "8h"), 70, 72, (76, "8f"), (108, "f"), (112, "2f"), (123, "B"), 148, (252, "2h"), (256, "6f"),
        (280, "12f"), 344,
    ),
    540: _Places(
        (16, "8q"), 12, 14, (104, "8d"), (168, "q"), (176, "2d"), (500, "i"), 240, (344, "2i"), (352, "6d"),
        (400, "12d"), 4,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class NiftiImage:
    """One volume of a NIfTI file.

    voxels: (z, y, x), scaled by scl_slope and scl_inter; storage: name of the type for writing.
    affine: (4, 4) from (i, j, k, 1) to RAS mm, as nibabel reads it: the sform, else the qform, else voxel sizes only.
    oriented: False if the file has neither form.
    """

    voxels: np.ndarray
    storage: str
    affine: np.ndarray
    oriented: bool
    description: str
    notes: tuple[str, ...]


def read_nifti(path: Path, volume: int | None = None) -> NiftiImage:
    """Read a .nii or .nii.gz file. volume: index in a four-dimensional file, from 0.

    Raises InputError if the file is truncated or damaged, or has several values per voxel, NaN or infinite voxels, or
    sheared axes.
    """
    with path.open("rb") as stream:
        packed, chunks, head = _begin(stream)
        header = _Header(head)
        if not packed and header.first + header.volumes * header.volume_bytes > path.stat().st_size:
            raise InputError(BROKEN)
        index = volume_index(None if volume is None else volume + 1, header.volumes)
        raw = _range(itertools.chain([head], chunks), header, index)
    voxels, storage = header.scaled(np.frombuffer(raw, header.dtype).reshape(header.shape[::-1]))
    affine, oriented, notes = header.geometry()
    return NiftiImage(voxels, storage, affine, oriented, header.description, notes)


def _begin(stream: BinaryIO) -> tuple[bool, Iterator[bytes], bytes]:
    """Return (whether the file is compressed, the remaining chunks, the first bytes)."""
    packed = stream.read(2) == b"\x1f\x8b"
    stream.seek(0)
    chunks = unpacked(stream) if packed else iter(lambda: stream.read(CHUNK), b"")
    head = bytearray()
    for chunk in chunks:
        head += chunk
        if len(head) >= 1024:
            break
    return packed, chunks, bytes(head)


def volume_index(number: int | None, volumes: int, dimensions: int = 4) -> int:
    """Index of a file's volume, chosen by its number from 1.

    Raises InputError for an invalid number, SeveralVolumesError if a number must be given.
    """
    if number is None and volumes == 1:
        return 0
    if number is None:
        names = [f"volume {one}" for one in range(1, volumes + 1)]
        raise SeveralVolumesError(
            f"{dimensions} dimensions ({volumes} volumes): choose one with --phase 1 to {volumes}", names
        )
    if not 1 <= number <= volumes:
        raise InputError(f"there is no volume {number}: the file holds {volumes}, counted from 1")
    return number - 1


def _range(chunks: Iterator[bytes], header: _Header, volume: int) -> bytearray:
    """The bytes of one volume; reads to the end to detect a damaged stream."""
    begin = header.first + volume * header.volume_bytes
    wanted, total = header.volume_bytes, 0
    raw = bytearray()
    for chunk in chunks:
        raw += chunk[max(begin - total, 0) : max(begin + wanted - total, 0)]
        total += len(chunk)
    if total < header.first + header.volumes * header.volume_bytes:
        raise InputError(BROKEN)
    return raw


class _Header:
    """The fields of a header, checked as far as they determine the location and shape of the voxels."""

    def __init__(self, start: bytes) -> None:
        self.start = start
        self.order = next((o for o in "<>" if struct.unpack_from(o + "i", start.ljust(4))[0] in _PLACES), "")
        size = struct.unpack_from(self.order + "i", start)[0] if self.order else 0
        if not self.order or len(start) < size:
            raise InputError(f"incomplete NIfTI header: {BROKEN}")
        self.places = _PLACES[size]
        if start[self.places.magic : self.places.magic + 3] in _PAIR:
            raise InputError("the voxels are in a separate .img file: save both as one .nii or .nii.gz")
        (offset,) = self.values(self.places.offset)
        rank, *dims = self.values(self.places.dim)
        if not (math.isfinite(offset) and offset >= 0 and 1 <= rank <= 7 and min(dims[:rank]) > 0):
            raise InputError(f"an impossible NIfTI header: {BROKEN}")
        self.first = max(int(offset), size)  # 0 means "right after the header"
        self.shape = tuple(([*dims[:rank], 1, 1])[:3])
        self.dtype = self._dtype()
        more = dims[3:rank]
        if any(extent != 1 for extent in more[1:]):
            raise InputError(f"{math.prod(more[1:])} values per voxel (colour or vector): give a plain CT")
        self.volumes = more[0] if more else 1
        self.volume_bytes = math.prod(self.shape) * self.dtype.itemsize
        self.description = start[self.places.description :][:80].split(b"\0")[0].decode("latin-1")

    def values(self, place: tuple[int, str]) -> tuple[Any, ...]:
        return struct.unpack_from(self.order + place[1], self.start, place[0])

    def _dtype(self) -> np.dtype:
        (datatype,), (bits,) = self.values((self.places.datatype, "h")), self.values((self.places.bits, "h"))
        known = np.dtype(self.order + _TYPES[int(datatype)]) if datatype in _TYPES else None
        expected = known.itemsize * 8 if known is not None else _BITS.get(int(datatype))
        if bits != expected:
            raise InputError(f"{bits} bits per voxel do not match NIfTI datatype {datatype}: {BROKEN}")
        if datatype in _MANY_VALUES:
            raise InputError("several values per voxel (colour or complex): give a plain CT")
        if known is None:
            raise InputError(f"NIfTI datatype {datatype} is not supported: save the file as int16 or float32")
        return known

    def scaled(self, stored: np.ndarray) -> tuple[np.ndarray, str]:
        """Voxels scaled by scl_slope and scl_inter (a slope of 0 means none), and the type for writing them."""
        if stored.dtype.kind == "f" and not all(np.isfinite(plane).all() for plane in stored):
            raise InputError("NaN or infinite voxels: replace them (air is -1000 HU) and try again")
        own = stored.astype(stored.dtype.newbyteorder("="), copy=False)
        slope, intercept = self.values(self.places.slope)
        if not slope or (slope, intercept) == (1, 0):
            return own, own.dtype.name
        if not (math.isfinite(slope) and math.isfinite(intercept)):
            raise InputError("scl_slope or scl_inter is not a finite number: correct the file's header")
        with np.errstate(over="ignore"):
            voxels = (own * np.float64(slope) + np.float64(intercept)).astype(np.float32)
        if own.dtype.kind == "f" or not (np.isfinite(voxels).all() and (voxels == np.rint(voxels)).all()):
            return voxels, "float32"
        low, high = voxels.min(), voxels.max()
        for name in ("int16", "int32"):
            if np.iinfo(name).min <= low and high <= np.iinfo(name).max:
                return voxels.astype(name), name
        return voxels, "float32"

    def geometry(self) -> tuple[np.ndarray, bool, tuple[str, ...]]:
        """Return (affine to RAS mm, whether the file gives an orientation, warnings)."""
        qcode, scode = self.values(self.places.codes)
        (units,) = self.values(self.places.units)
        scale = _MM.get(int(units) & 7, 1.0)
        forms = []
        if scode > 0:
            forms.append(self._straight(np.reshape(self.values(self.places.rows), (3, 4)) * scale))
        if qcode > 0:
            forms.append(self._straight(self._qform() * scale))
        if not forms:
            note = "the file gives no orientation (sform and qform codes 0): assumed axes to the left, front, head"
            return self._sizes_alone(scale), False, (note,)
        apart = self._farthest(forms[0] - forms[-1])
        if apart <= DIFFERENCE_MM:
            return forms[0], True, ()
        note = f"sform and qform differ by up to {apart:.3g} mm: the sform is used, check it against the scan"
        return forms[0], True, (note,)

    def _farthest(self, difference: np.ndarray) -> float:
        """Largest displacement of a corner voxel by an affine, mm."""
        ends = [(0, extent - 1) for extent in self.shape]
        corners = np.array([[*corner, 1] for corner in itertools.product(*ends)]).T
        return float(np.linalg.norm(difference[:3] @ corners, axis=0).max())

    def _straight(self, rows: np.ndarray) -> np.ndarray:
        """Convert (3, 4) to a right-angled (4, 4) affine. Raises InputError if it is sheared or invalid."""
        affine = np.eye(4)
        affine[:3] = rows
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        if not (np.isfinite(affine).all() and lengths.min() > 0):
            raise InputError("the geometry in the header has NaN or zero voxel sizes: correct it")
        axes = affine[:3, :3] / lengths
        if abs(np.linalg.det(axes)) < 1e-3:
            raise InputError("the axes in the header lie in one plane: correct it")
        straight = affine.copy()
        straight[:3, :3] = nearest_orthogonal(axes) * lengths
        if self._farthest(straight - affine) > SHEAR_MM:
            raise InputError("sheared axes (tilted gantry?), which NIfTI cannot represent: give DICOM or .nrrd")
        return straight

    def _qform(self) -> np.ndarray:
        """(3, 4) by METHOD 2 of nifti1.h: rotation by quaternion, with the third axis mirrored if pixdim[0] is -1."""
        b, c, d, *offset = self.values(self.places.quaternion)
        pixdim = self.values(self.places.pixdim)
        a = math.sqrt(max(0.0, 1 - (b * b + c * c + d * d)))
        rotation = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ]
        )
        sizes = np.abs(pixdim[1:4]) * [1, 1, -1 if pixdim[0] < 0 else 1]
        return np.column_stack([rotation * sizes, offset])

    def _sizes_alone(self, scale: float) -> np.ndarray:
        """Affine from voxel sizes alone, as in nibabel: the first axis to the left, the volume's centre at 0."""
        sizes = np.abs(np.asarray(self.values(self.places.pixdim)[1:4])) * scale * [-1, 1, 1]
        affine = np.diag([*sizes, 1.0])
        affine[:3, 3] = -(np.array(self.shape) - 1) / 2 * sizes
        return affine


def forget_orientation(path: Path) -> None:
    """Set sform and qform codes of a NIfTI-1 file to 0, as in the input."""
    packed = path.name.endswith(".gz")
    content = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    place = _PLACES[348].codes[0]
    content[place : place + 4] = bytes(4)
    path.write_bytes(gzip.compress(content, 2, mtime=0) if packed else content)
