"""Downloads from the Hugging Face hub: a repository's file list with checksums, resumable and verified downloads.

huggingface_hub does not suit 790 MB over a slow connection: `hf_hub_download` (checked in 2.4.0, file_download.py)
deletes its temporary file when the program is interrupted, so the next call starts from zero, and it compares only the
size with the hub's, not the checksum.
"""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tqdm import tqdm

from bioatt.core.errors import InputError

PIECE = 1 << 20
TIMEOUT_S = 30


@dataclass(frozen=True)
class HubFile:
    """A file in a repository. git_sha1: of its git blob. sha256: for files in large-file storage, else None."""

    name: str
    size: int
    git_sha1: str
    sha256: str | None


@dataclass(frozen=True)
class Repository:
    """A model repository at one commit."""

    address: str
    name: str
    commit: str
    files: dict[str, HubFile]


def list_repository(name: str, endpoint: str | None = None) -> Repository:
    """List the files on a model repository's main branch. Raises OSError or ValueError if the hub does not answer.

    endpoint: address of a mirror; defaults to HF_ENDPOINT, else the hub itself.
    """
    address = (endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    with _open(f"{address}/api/models/{quote(name)}?blobs=true") as reply:
        listing: dict[str, Any] = json.load(reply)
    files = {}
    for sibling in listing["siblings"]:
        lfs = sibling.get("lfs") or {}
        entry = HubFile(sibling["rfilename"], sibling["size"], sibling["blobId"], lfs.get("sha256"))
        files[entry.name] = entry
    return Repository(address, name, listing["sha"], files)


def fetch(repository: Repository, name: str, folder: Path) -> None:
    """Download a file into `folder`, resuming from NAME.part, and verify its checksum.

    Raises OSError if the connection fails (NAME.part is kept), InputError if the checksum differs from the hub's.
    """
    wanted = repository.files[name]
    path, part = folder / name, folder / f"{name}.part"
    if path.is_file() and matches(path, wanted):
        return
    done = part.stat().st_size if part.is_file() else 0
    if done < wanted.size:
        address = f"{repository.address}/{quote(repository.name)}/resolve/{repository.commit}/{quote(name)}"
        with _open(address, start=done) as reply:
            if done and reply.status != 206:  # the server ignores Range
                done = 0
            with (
                part.open("ab" if done else "wb") as file,
                tqdm(total=wanted.size, initial=done, unit="B", unit_scale=True, desc=name, disable=None) as bar,
            ):
                while piece := reply.read(PIECE):
                    file.write(piece)
                    bar.update(len(piece))
        if part.stat().st_size < wanted.size:
            raise ConnectionError("the connection was lost")
    if not matches(part, wanted):
        part.unlink()
        raise InputError(
            f"the downloaded {name} is damaged (its checksum differs from the hub's): run the download again"
        )
    part.replace(path)


def matches(path: Path, wanted: HubFile) -> bool:
    """Whether a file's size and checksum match the hub's."""
    if path.stat().st_size != wanted.size:
        return False
    if wanted.sha256 is not None:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == wanted.sha256
    content = path.read_bytes()
    blob = b"blob %d\0" % len(content) + content
    return hashlib.sha1(blob, usedforsecurity=False).hexdigest() == wanted.git_sha1


def _open(address: str, start: int = 0) -> Any:
    headers = {"User-Agent": "bioatt"}
    if start:
        headers["Range"] = f"bytes={start}-"
    context = ssl.create_default_context()
    try:
        import certifi
    except ImportError:
        pass
    else:
        context.load_verify_locations(certifi.where())  # for Python builds without access to the system's certificates
    request = urllib.request.Request(address, headers=headers)
    return urllib.request.urlopen(request, timeout=TIMEOUT_S, context=context)
