"""Is a volume file whole? ITK fills the lost end and the NaNs of a NIfTI with zeros and overlooks damaged streams."""

from __future__ import annotations

import itertools
import math
import re
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from bioatt.core.errors import InputError
from bioatt.io.inflate import BROKEN, CHUNK, unpacked
from bioatt.io.metaimage import check_voxels

_LONGEST_HEADER = 1 << 20
_NIFTI_FLOATS = (16, 64)
# Bits of a voxel by datatype (nifti1.h), from one bit to four long doubles; any other datatype is ITK's to refuse.
_NIFTI_BITS = {1: 1, 2: 8, 4: 16, 8: 32, 16: 32, 32: 64, 64: 64, 128: 24, 256: 8, 512: 16, 768: 32, 1024: 64, 1280: 64}
_NIFTI_BITS |= {1536: 128, 1792: 128, 2048: 256, 2304: 32}


def suffix_of(path: Path) -> str:
    """The file's ending in lower case, `.nii.gz` as one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def check_whole(path: Path) -> None:
    """Raise InputError where the voxels of a .nrrd, .nhdr, .nii, .nii.gz, .mha or .mhd file are cut short or damaged.

    NaN and infinite voxels of a NIfTI are refused here too, since ITK would make water (0 HU) of them.
    Raw NRRD and rare encodings are left to ITK, which checks them.
    """
    suffix = suffix_of(path)
    if suffix in (".mha", ".mhd"):
        check_voxels(path)
        return
    with path.open("rb") as stream:
        if suffix in (".nii", ".nii.gz"):
            _check_nifti(stream)
            return
        header = _nrrd_header(stream, attached=suffix == ".nrrd")
        if re.search(rb"^encoding: *gz", header, re.MULTILINE | re.IGNORECASE) is None:
            return
        if suffix == ".nrrd":
            _exhaust(stream, len(header))
    for file in data_files(path):
        if file.is_file():  # that one is missing is ITK's to say
            with file.open("rb") as stream:
                _exhaust(stream, 0)


def data_files(path: Path) -> list[Path]:
    """The files that hold the voxels of a header without them (.mhd, .nhdr); of any other file, none.

    MetaIO's ElementDataFile and NRRD's "data file" name one file, a list of them (LIST, one a line), or a numbered
    series (slice%03d.raw first last step). A header that cannot be read names none: reading it will say why.
    """
    keys = {".mhd": rb"ElementDataFile *= *", ".nhdr": rb"data ?file: *"}
    key = keys.get(suffix_of(path))
    if key is None:
        return []
    try:
        with path.open("rb") as stream:
            header = stream.read(_LONGEST_HEADER)
    except OSError:
        return []
    match = re.search(rb"^" + key + rb"(.*)$", header, re.MULTILINE | re.IGNORECASE)
    if match is None:
        return []
    first = match.group(1).decode("utf-8", "replace").strip()
    if first.split(" ")[0].upper() == "LIST":
        lines = header[match.end() :].decode("utf-8", "replace").splitlines()
        return [path.parent / line.strip() for line in lines if line.strip()]
    number = re.search(r"%\d*d", first)
    if number is None:
        return [path.parent / first]
    series = path.parent / (first[: number.start()] + "\0" + first[number.end() :].split(" ")[0])
    shape = re.escape(series.name).replace("\0", r"\d+")
    return [file for file in series.parent.glob("*") if re.fullmatch(shape, file.name)]


def _nrrd_header(stream: BinaryIO, *, attached: bool) -> bytes:
    start = stream.read(_LONGEST_HEADER)
    match = re.search(rb"\r?\n\r?\n", start)
    if match is None and attached:
        raise InputError(f"the header has no end: {BROKEN}")
    return start if match is None else start[: match.end()]


def _exhaust(stream: BinaryIO, offset: int) -> None:
    stream.seek(offset)
    for _ in unpacked(stream):
        pass


def _check_nifti(stream: BinaryIO) -> None:
    packed = stream.read(2) == b"\x1f\x8b"
    stream.seek(0)
    chunks = unpacked(stream) if packed else iter(lambda: stream.read(CHUNK), b"")
    start = next(chunks, b"")
    order = "<" if start[:4] in (b"\x5c\x01\0\0", b"\x1c\x02\0\0") else ">"
    if len(start) >= 348 and struct.unpack(f"{order}i", start[:4])[0] == 348:
        size, dim, kind, bits, offset = 348, 40, "8h", 72, (108, "f")
    elif len(start) >= 540 and struct.unpack(f"{order}i", start[:4])[0] == 540:
        size, dim, kind, bits, offset = 540, 16, "8q", 14, (168, "q")
    else:
        raise InputError(f"no whole NIfTI header: {BROKEN}")
    dims = struct.unpack_from(order + kind, start, dim)
    (datatype,) = struct.unpack_from(f"{order}h", start, bits - 2)
    (bits_per_voxel,) = struct.unpack_from(f"{order}h", start, bits)
    (first,) = struct.unpack_from(order + offset[1], start, offset[0])
    if not (math.isfinite(first) and first >= 0 and 1 <= dims[0] <= 7 and min(dims[1 : dims[0] + 1]) > 0):
        raise InputError(f"an impossible NIfTI header: {BROKEN}")
    if bits_per_voxel != _NIFTI_BITS.get(datatype, bits_per_voxel):
        raise InputError(f"{bits_per_voxel} bits a voxel do not fit its NIfTI datatype {datatype}: {BROKEN}")
    first = max(int(first), size)  # 0 stands for "right after the header"
    total = 0
    floats = np.dtype(f"{order}f{bits_per_voxel // 8}") if datatype in _NIFTI_FLOATS else None
    rest, ahead = b"", first
    for chunk in itertools.chain([start], chunks):
        total += len(chunk)
        if floats is not None:
            data = rest + chunk[ahead:]
            ahead = max(0, ahead - len(chunk))
            whole = len(data) // floats.itemsize * floats.itemsize
            if not np.isfinite(np.frombuffer(data[:whole], floats)).all():
                raise InputError("NaN or infinite voxels: replace them (air is -1000 HU) and try again")
            rest = data[whole:]
    if total < first + bits_per_voxel // 8 * math.prod(dims[1 : dims[0] + 1]):
        raise InputError(BROKEN)
