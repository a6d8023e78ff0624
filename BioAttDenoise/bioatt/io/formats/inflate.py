"""Are a header's data as long as it says? Streams are unpacked piece by piece, so that any size needs little memory."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bioatt.core.errors import InputError

CHUNK = 1 << 16  # a thousand times that when a constant volume unpacks
BROKEN = "truncated or damaged: copy it again from its source"
_GZIP = b"\x1f\x8b"


def unpacked(stream: BinaryIO, size: int | None = None, *, members: bool = True) -> Iterator[bytes]:
    """The content of a gzip or zlib stream from the file's position on.

    size: bytes of the file that belong to the stream; None: all up to its end.
    members: read on where one gzip member follows another, as gzip files may have them.
    Raises InputError if the stream is cut short or fails its checksum.
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

    packed: a gzip stream; raw: the voxels as they are; of neither only ITK can tell. announced: 0 where unknown.
    """
    if raw and stream.seek(0, 2) - begin < announced:
        raise InputError(BROKEN)
    if packed:
        stream.seek(begin)
        found = sum(len(content) for content in unpacked(stream))
        if found < announced:
            raise InputError(f"fewer voxels than its header announces: {BROKEN}")


def same_folder(header: Path, data: Path) -> None:
    """Raise InputError if a header names its data outside its own folder, or something that is no regular file.

    A header that came from elsewhere could have any file of this machine read as voxels, or a device without end.
    """
    folder, named = os.path.abspath(header.parent), os.path.abspath(data)
    if os.path.commonpath([folder, named]) != folder:
        raise InputError("its header names data outside its own folder: put the data beside the header")
    if not data.exists():
        raise InputError("a data file that its header names is missing: put it beside the header")
    if not data.is_file():
        raise InputError("its header names data that are no regular file: put the data beside the header")
