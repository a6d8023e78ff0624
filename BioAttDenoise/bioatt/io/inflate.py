"""What a gzip or zlib stream holds, piece by piece, so that a stream of any size is checked in little memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

from bioatt.core.errors import InputError

CHUNK = 1 << 16  # a thousand times that when a constant volume unpacks
BROKEN = "truncated or damaged: copy it again from its source"
_GZIP = b"\x1f\x8b"


def unpacked(stream: BinaryIO, size: int | None = None, *, members: bool = True) -> Iterator[bytes]:
    """The content of a gzip or zlib stream from the file's position on.

    size: bytes of the file that belong to the stream; None: all up to its end.
    members: read on where one gzip member follows another, as gzip files may have them.
    Raises InputError where the stream is cut short or fails its checksum.
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
