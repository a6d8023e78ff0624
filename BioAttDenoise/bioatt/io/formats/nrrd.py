"""Checks that an NRRD file matches its header, before ITK allocates memory for whatever sizes it reads.

Format: teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from bioatt.core.errors import InputError
from bioatt.core.geometry import check_origin, check_spacing
from bioatt.io.formats.inflate import BROKEN, check_length, same_folder

_LONGEST_HEADER = 1 << 20
_BYTES = {
    1: "signed char|int8|int8_t|uchar|unsigned char|uint8|uint8_t",
    2: "short|short int|signed short|signed short int|int16|int16_t|ushort|unsigned short|unsigned short int|uint16|"
    "uint16_t",
    4: "int|signed int|int32|int32_t|uint|unsigned int|uint32|uint32_t|float",
    8: "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t|ulonglong|"
    "unsigned long long|unsigned long long int|uint64|uint64_t|double",
}
_SIZE_OF = {name: size for size, names in _BYTES.items() for name in names.split("|")}
_GZIP = ("gzip", "gz")


def check_nrrd(path: Path, files: list[Path]) -> None:
    """Raise InputError if an NRRD's geometry is invalid, or its data are damaged or shorter than announced.

    files: those that hold the voxels if the header's file does not.
    """
    attached = not files
    with path.open("rb") as stream:
        start = stream.read(_LONGEST_HEADER)
        end = re.search(rb"\r?\n\r?\n", start)
        if end is None and attached:
            raise InputError(f"the header has no end: {BROKEN}")
        length = len(start) if end is None else end.end()
        fields = _fields(start[:length])
        _check_geometry(fields)
        announced = _announced(fields)
        encoding = fields.get("encoding", "").lower()
        if attached:
            skip = 0 if encoding in _GZIP else _byte_skip(fields)
            check_length(stream, length + skip, announced, packed=encoding in _GZIP, raw=encoding == "raw")
    for file in files:
        same_folder(path, file)
        with file.open("rb") as stream:
            part = announced // len(files)
            check_length(stream, 0, part, packed=encoding in _GZIP, raw=encoding == "raw")


def _fields(header: bytes) -> dict[str, str]:
    lines = header.decode("latin-1").splitlines()
    pairs = (line.split(":", 1) for line in lines if ": " in line and ":=" not in line and not line.startswith("#"))
    return {key.strip().lower(): value.strip() for key, value in pairs}


def _announced(fields: dict[str, str]) -> int:
    """Uncompressed size of the voxels in bytes; 0 if the header gives it in an unknown form."""
    sizes = fields.get("sizes", "").split()
    if not all(re.fullmatch(r"[0-9]{1,12}", size) for size in sizes) or "0" in sizes:
        raise InputError(f"an impossible NRRD header (sizes {' '.join(sizes)[:60]}): {BROKEN}")
    return math.prod(int(size) for size in sizes) * _SIZE_OF.get(fields.get("type", "").lower(), 0)


def _byte_skip(fields: dict[str, str]) -> int:
    skip = fields.get("byte skip", fields.get("byteskip", "0"))
    return max(int(skip), 0) if re.fullmatch(r"-?\d{1,12}", skip) else 0


def _check_geometry(fields: dict[str, str]) -> None:
    for text in re.findall(r"\(([^()]*)\)", fields.get("space directions", "")):
        check_spacing([math.hypot(*_numbers(text))])
    spacings = [part for part in fields.get("spacings", "").split() if part.lower() != "nan"]
    if spacings:
        check_spacing(_numbers(",".join(spacings)))
    for text in re.findall(r"\(([^()]*)\)", fields.get("space origin", "")):
        check_origin(_numbers(text))


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"the geometry in the header is not numeric ({text[:40]}): correct it") from None
