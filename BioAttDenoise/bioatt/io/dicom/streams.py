"""Checks on the lengths of DICOM elements and compressed frames, before GDCM allocates memory for them."""

from __future__ import annotations

import struct
from typing import Any

from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments, parse_basic_offsets
from pydicom.sequence import Sequence

_UNDEFINED = 0xFFFFFFFF
"""Length of encapsulated pixel data (PS3.5 A.4)."""
_JPEG, _JPEG_2000, _JP2_SIZE = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\xff\x51"
_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7)
"""Frame header markers in JPEG (ITU-T T.81 B.2.2) and JPEG-LS (T.87 C.2.2)."""


class DamagedStreamError(ValueError):
    """A length or size that the file cannot hold."""


def is_compressed(dataset: Dataset) -> bool:
    """Whether the transfer syntax encapsulates the pixel data."""
    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    return syntax is not None and not syntax.is_private and syntax.is_encapsulated


def check_lengths(dataset: Dataset) -> None:
    """Raise DamagedStreamError if an element, also within sequences, claims to be longer than the file."""
    for tag in list(dataset.keys()):
        element: Any = dataset.get_item(tag)
        value = element.value
        length = getattr(element, "length", _UNDEFINED)
        if isinstance(value, bytes) and length != _UNDEFINED and len(value) != length:
            raise DamagedStreamError
        if isinstance(value, Sequence):
            for item in value:
                check_lengths(item)


def check_fragments(encapsulated: bytes, rows: int, columns: int) -> None:
    """Raise DamagedStreamError, ValueError or struct.error if the frame's code stream has a different size."""
    parse_basic_offsets(encapsulated)
    fragments = list(generate_fragments(encapsulated))
    fragments = fragments[1:] if len(fragments) > 1 else fragments  # the first is the offset table
    size = _stream_size(b"".join(fragments))
    if size is not None and size != (rows, columns):
        raise DamagedStreamError


def _stream_size(stream: bytes) -> tuple[int, int] | None:
    """(rows, columns) in the header of a JPEG, JPEG-LS or JPEG 2000 stream; None for others (RLE)."""
    start = stream.find(_JPEG_2000)
    if 0 <= start < 512:  # JP2 boxes may precede it
        x1, y1, x0, y0 = struct.unpack_from(">4I", stream, start + 8)
        return y1 - y0, x1 - x0
    if not stream.startswith(_JPEG):
        return None
    place = 2
    while True:
        marker, length = struct.unpack_from(">HH", stream, place)
        if marker >> 8 != 0xFF or length < 2:
            raise DamagedStreamError
        if marker & 0xFF in _FRAMES:
            rows, columns = struct.unpack_from(">HH", stream, place + 5)
            return rows, columns
        place += 2 + length
