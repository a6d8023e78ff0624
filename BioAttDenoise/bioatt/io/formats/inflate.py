"""Checks that data are as long as the header announces; decompresses in chunks, so any size needs little memory."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bioatt.core.errors import InputError

CHUNK = 1 << 16  # decompressing a constant volume yields a thousand times that
BROKEN = "truncated or damaged: copy it again from its source"
_GZIP = b"\x1f\x8b"


def unpacked(stream: BinaryIO, size: int | None = None, *, members: bool = True) -> Iterator[bytes]:
    """Yield the content of a gzip or zlib stream, starting at the file's current position.

    size: bytes of the file that belong to the stream; None: all up to its end.
    members: continue with further gzip members, which gzip files may contain.
    Raises InputError if the stream is truncated or fails its checksum.
    """
    unpack = zlib.decompressobj(47)
    left = size
    try:
        while chunk := stream.read(CHUNK if left is None else min(CHUNK, left)):
            left = None if left is None else left - len(chunk)
            yield unpack.decompress(chunk)
            while members and unpack.eof and unpack.unused_data[:2] == _GZIP:
                unpack, rest = zlib.decompressobj(47), unpack.unused_data
                yield unpack.decompress(rest)
            if unpack.eof and (not members or len(unpack.unused_data) > 1):
                return
    except zlib.error:
        raise InputError(BROKEN) from None
    if not unpack.eof:
        raise InputError(BROKEN)


def check_length(stream: BinaryIO, begin: int, announced: int, *, packed: bool, raw: bool) -> None:
    """Raise InputError if data from `begin` on are damaged, or shorter than the bytes announced for the voxels.

    packed: a gzip stream; raw: uncompressed voxels; if neither, only ITK can check. announced: 0 if unknown.
    """
    if raw and stream.seek(0, 2) - begin < announced:
        raise InputError(BROKEN)
    if packed:
        stream.seek(begin)
        found = sum(len(content) for content in unpacked(stream))
        if found < announced:
            raise InputError(f"fewer voxels than the header announces: {BROKEN}")


def same_folder(header: Path, data: Path) -> None:
    """Raise InputError if a header names data outside its own folder or anything but a regular file.

    Otherwise a foreign header could make any file of this machine be read as voxels, or an endless device.
    """
    folder, named = os.path.abspath(header.parent), os.path.abspath(data)
    if os.path.commonpath([folder, named]) != folder:
        raise InputError("the header names data outside its own folder: put the data next to the header")
    if not data.exists():
        raise InputError("a data file named in the header is missing: put it next to the header")
    if not data.is_file():
        raise InputError("the header names data that are not a regular file: put the data next to the header")
