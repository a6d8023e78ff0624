"""Is a volume file whole? ITK fills the lost end of a NIfTI with zeros and overlooks damaged zlib streams."""

from __future__ import annotations

import math
import re
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from bioatt.errors import InputError

_CHUNK = 1 << 20
_META_BYTES = {"MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4}
_META_BYTES |= {"MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8}
_BROKEN = "truncated or damaged: copy it again from its source"


def suffix_of(path: Path) -> str:
    """The file's ending in lower case, `.nii.gz` as one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def check_whole(path: Path) -> None:
    """Raise InputError where the voxels of a .nrrd, .nii, .nii.gz or .mha file are cut short or fail their checksum.

    Headers with a data file of their own (.nhdr, .mhd) and rare encodings are left to ITK, which checks them.
    """
    suffix = suffix_of(path)
    with path.open("rb") as stream:
        if suffix in (".nii", ".nii.gz"):
            _check_nifti(stream)
        elif suffix == ".nrrd":
            header = _header_until(stream, rb"\r?\n\r?\n")
            if re.search(rb"^encoding: *gz", header, re.MULTILINE | re.IGNORECASE):
                _count(stream, len(header))
        elif suffix == ".mha":
            header = _header_until(stream, rb"ElementDataFile *= *LOCAL\r?\n")
            if _meta_field(header, "CompressedData").lower() == "true":
                _count(stream, len(header))
            elif stream.seek(0, 2) - len(header) < _meta_bytes(header):
                raise InputError(_BROKEN)


def _header_until(stream: BinaryIO, end: bytes) -> bytes:
    start = stream.read(_CHUNK)
    match = re.search(end, start)
    if match is None:
        raise InputError(f"the header has no end: {_BROKEN}")
    return start[: match.end()]


def _meta_field(header: bytes, name: str) -> str:
    match = re.search(rf"^{name} *= *(.*?)\r?$".encode(), header, re.MULTILINE)
    return match.group(1).decode("ascii", "replace") if match else ""


def _meta_bytes(header: bytes) -> int:
    """Size of the voxels that a MetaImage header announces; 0 where it does not say it plainly."""
    sizes, channels = _meta_field(header, "DimSize").split(), _meta_field(header, "ElementNumberOfChannels") or "1"
    if not all(text.isdigit() for text in (*sizes, channels)):
        return 0
    return math.prod(map(int, sizes)) * int(channels) * _META_BYTES.get(_meta_field(header, "ElementType"), 0)


def _check_nifti(stream: BinaryIO) -> None:
    start = stream.read(2)
    stream.seek(0)
    packed = start == b"\x1f\x8b"
    header = zlib.decompressobj(31).decompress(stream.read(4096), 544) if packed else stream.read(544)
    if len(header) < 352:
        raise InputError(_BROKEN)
    order = "<" if struct.unpack("<i", header[:4])[0] in (348, 540) else ">"
    version = struct.unpack(f"{order}i", header[:4])[0]
    if version == 348:
        dim = struct.unpack(f"{order}8h", header[40:56])
        (bits,) = struct.unpack(f"{order}h", header[72:74])
        (offset,) = struct.unpack(f"{order}f", header[108:112])
    elif version == 540:
        (bits,) = struct.unpack(f"{order}h", header[14:16])
        dim = struct.unpack(f"{order}8q", header[16:80])
        (offset,) = struct.unpack(f"{order}q", header[168:176])
    else:
        raise InputError("no NIfTI file: its header has another size")
    expected = int(offset) + bits // 8 * math.prod(dim[1 : dim[0] + 1])
    if (_count(stream, 0) if packed else stream.seek(0, 2)) < expected:
        raise InputError(_BROKEN)


def _count(stream: BinaryIO, offset: int) -> int:
    """Bytes that a gzip or zlib stream holds; raises InputError where it is cut short or its checksum is wrong."""
    stream.seek(offset)
    unpack = zlib.decompressobj(47)
    total = 0
    try:
        while chunk := stream.read(_CHUNK):
            total += len(unpack.decompress(chunk))
            while unpack.eof and unpack.unused_data[:2] == b"\x1f\x8b":  # gzip files may have several members
                unpack, rest = zlib.decompressobj(47), unpack.unused_data
                total += len(unpack.decompress(rest))
    except zlib.error:
        raise InputError(_BROKEN) from None
    if not unpack.eof:
        raise InputError(_BROKEN)
    return total
