"""Checks that a MetaImage holds the voxels its header announces; ITK makes up those that compressed data lack.

The location of the data follows ITK's reader (MetaIO, metaImage.cxx: ReadStream and M_ReadElements).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bioatt.core.errors import InputError
from bioatt.core.geometry import check_origin, check_spacing
from bioatt.io.formats.inflate import BROKEN, same_folder, unpacked

_LONGEST_HEADER = 1 << 20
_MOST_DIMENSIONS = 10  # the size of MetaIO's arrays
_BYTES = {"MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4}
_BYTES |= {"MET_LONG": 4, "MET_ULONG": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8}
_FIELD = re.compile(rb"^[ \t]*([^=:\r\n]*?)[ \t]*[=:][ \t]*([^\r\n]*?)[ \t\r]*$", re.MULTILINE)
_LAST_FIELD = re.compile(rb"^[ \t]*ElementDataFile[ \t]*[=:][^\n]*(\n|\Z)", re.MULTILINE)


@dataclass(frozen=True)
class _Header:
    fields: dict[str, str]
    length: int
    lines: tuple[str, ...]  # whole lines that follow the header: the files of a LIST

    def number(self, name: str, default: int) -> int:
        return _number(self.fields.get(name, str(default)))

    def true(self, name: str, default: str) -> bool:
        return self.fields.get(name, default)[:1] in ("T", "t", "1")


def check_voxels(path: Path) -> None:
    """Raise InputError if the data of a .mha or .mhd file are damaged or not as long as the header announces."""
    header = _read(path)
    _check_geometry(header)
    if not header.true("BinaryData", "True"):
        return  # ITK refuses too few numbers
    sizes = _sizes(header)
    name = header.fields["ElementDataFile"]
    compressed = header.true("CompressedData", "False")
    if name in ("LOCAL", "Local", "local"):
        _check_data(path, header, header.length, _bytes(header, sizes), compressed)
        return
    files, dimensions = _data_files(header, name, sizes)
    for number, data in enumerate(files, start=1):
        file, packed = _existing(path.parent / data, alone=dimensions == len(sizes))
        same_folder(path, file)
        try:
            _check_data(file, header, 0, _bytes(header, sizes[:dimensions]), compressed or packed)
        except InputError as error:
            raise InputError(f"data file {number}: {error}") from None


def _read(path: Path) -> _Header:
    with path.open("rb") as stream:
        start = stream.read(_LONGEST_HEADER)
    end = _LAST_FIELD.search(start)
    if end is None:
        raise InputError(f"the header has no end: {BROKEN}")
    pairs = _FIELD.findall(start[: end.end()])
    fields = {key.decode("utf-8", "replace"): value.decode("utf-8", "surrogateescape") for key, value in pairs}
    if "ElementDataFile" not in fields:
        raise InputError(f"the header has no end: {BROKEN}")
    lines = start[end.end() :].split(b"\n")[:-1] if fields["ElementDataFile"].startswith("LIST") else []
    return _Header(fields, end.end(), tuple(line.decode("utf-8", "surrogateescape").rstrip() for line in lines))


def _number(text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value.is_integer():
        raise InputError(f"an impossible MetaImage header: {BROKEN}")
    return int(value)


def _check_geometry(header: _Header) -> None:
    """Check the geometry, which MetaIO squares and multiplies unchecked: 1e308 in a direction hangs ITK."""
    checks: tuple[tuple[tuple[str, ...], Callable[[Sequence[float]], None]], ...] = (
        (("ElementSpacing",), check_spacing),
        (("Offset", "Position", "Origin"), check_origin),
        (("TransformMatrix", "Rotation", "Orientation"), _check_axes),
    )
    for names, check in checks:
        for name in names:
            if header.fields.get(name):
                try:
                    values = [float(text) for text in header.fields[name].split()]
                except ValueError:
                    raise InputError(f"the header's {name} contains something other than numbers: correct it") from None
                check(values)


def _check_axes(values: Sequence[float]) -> None:
    if not all(abs(value) <= 2 for value in values):
        raise InputError("the direction in the header is not a matrix of unit vectors: correct it")


def _sizes(header: _Header) -> tuple[int, ...]:
    dimensions = header.number("NDims", 0)
    sizes = tuple(_number(text) for text in header.fields.get("DimSize", "").split()[: max(dimensions, 0)])
    if not 1 <= dimensions <= _MOST_DIMENSIONS or len(sizes) < dimensions or min(sizes) < 1:
        raise InputError(f"an impossible MetaImage header: {BROKEN}")
    return sizes


def _bytes(header: _Header, sizes: tuple[int, ...]) -> int:
    element = header.fields.get("ElementType", "")
    if element not in _BYTES:
        raise InputError(f"invalid ElementType: {BROKEN}")
    return math.prod(sizes) * max(1, header.number("ElementNumberOfChannels", 1)) * _BYTES[element]


def _data_files(header: _Header, name: str, sizes: tuple[int, ...]) -> tuple[list[str], int]:
    """The data files in voxel order, and the number of dimensions of each."""
    if name.startswith("LIST"):
        dimensions = len(sizes) - 1
        if [_number(text) for text in name.split()[1:2]] not in ([], [0], [dimensions]):
            raise InputError("the header lists files that are not slices: save the volume as one file")
        files = list(header.lines[: sizes[-1]])
    elif "%" in name:
        dimensions = len(sizes) - 1
        files = list(_numbered(name, sizes[-1]))
    else:
        return [name], len(sizes)
    if len(files) < sizes[-1]:
        raise InputError(f"the header names {len(files)} files for {sizes[-1]} slices: {BROKEN}")
    return files, dimensions


def _numbered(name: str, slices: int) -> Iterator[str]:
    """The files of "s%03d.raw [first [last [step]]]"; if the name contains spaces, all three numbers must follow."""
    words = name.split()
    if len(words) > 4:
        words = [" ".join(words[:-3]), *words[-3:]]
    pattern, numbers = words[0], [_number(word) for word in words[1:]]
    first = numbers[0] if numbers else 1
    last = numbers[1] if len(numbers) > 1 else first + slices - 1
    step = numbers[2] if len(numbers) > 2 else (last - first) // slices if len(numbers) > 1 else 1
    if step < 1 or re.fullmatch(r"[^%]*%0?\d?[diu][^%]*", pattern) is None:
        raise InputError(f"invalid file series in ElementDataFile: {BROKEN}")
    return (pattern % number for number in range(first, last + 1, step)[:slices])


def _existing(file: Path, alone: bool) -> tuple[Path, bool]:
    """The file that ITK opens, and whether its name marks it as compressed."""
    for suffix in ("", ".gz", ".Z") if alone else ("",):
        candidate = file.with_name(file.name + suffix) if file.name else file
        if candidate.is_file():
            return candidate, bool(suffix)
    raise InputError("a data file named in the header is missing: put it next to the header")


def _check_data(file: Path, header: _Header, start: int, announced: int, compressed: bool) -> None:
    """Check one data file. start: of the data unless the header gives another; announced: uncompressed voxel bytes."""
    skip = header.number("HeaderSize", 0)
    packed = header.number("CompressedDataSize", 0) if compressed else announced
    with file.open("rb") as stream:
        size = stream.seek(0, 2)
        begin = size - announced if skip == -1 else skip if skip > 0 else start
        if compressed and packed == 0:  # ITK decompresses the whole file
            if start:
                raise InputError("the header lacks CompressedDataSize: save the file again from the original program")
            begin, packed = 0, size
        if begin < start or packed < 0 or begin + packed > size:
            raise InputError(BROKEN)
        if not compressed:
            return
        stream.seek(begin)
        found = 0
        for content in unpacked(stream, packed, members=False):
            found += len(content)
            if found > announced:
                break
    if found != announced:
        less = "fewer" if found < announced else "more"
        raise InputError(f"{less} voxels than the header announces: copy it again from its source")
