"""Integrity checks of volume files; ITK overlooks damaged streams, and trusts the header's sizes and geometry."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from bioatt.io.files import suffix_of
from bioatt.io.formats.metaimage import check_voxels
from bioatt.io.formats.nrrd import check_nrrd

_LONGEST_HEADER = 1 << 20


def check_whole(path: Path) -> None:
    """Raise InputError if a .nrrd, .nhdr, .mha or .mhd file is damaged or does not match its header.

    Rare NRRD encodings are left to ITK, which checks them.
    """
    if suffix_of(path) in (".mha", ".mhd"):
        check_voxels(path)
    else:
        check_nrrd(path, data_files(path))


def data_files(path: Path) -> list[Path]:
    """The files that hold the voxels of a detached header (.mhd, .nhdr); none for any other file.

    MetaIO's ElementDataFile and NRRD's "data file" name one file, a list (LIST, one per line), or a numbered series
    (slice%03d.raw first last step). An unreadable header yields none: reading the volume reports the reason.
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


def content_sha256(files: Iterable[Path]) -> str:
    """SHA-256 of the files' content, independent of names and order. Raises OSError if one cannot be read."""
    digests = []
    for path in files:
        with path.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()
