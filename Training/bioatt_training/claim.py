"""A note in a folder of what made it, so that other data or settings do not go on with it."""

from __future__ import annotations

import os
from pathlib import Path

from bioatt.errors import InputError


def claim(note: Path, said: str, other: str) -> None:
    """Write the note, or find it to say the same. Raises InputError, naming `other`, where it says otherwise."""
    folder = note.parent
    if note.is_file():
        if note.read_text(encoding="utf-8") != said:
            raise InputError(f"{folder.name} was made with {other}: choose another folder, or remove it")
        return
    folder.mkdir(parents=True, exist_ok=True)
    partial = note.with_name(f"{note.stem}.{os.getpid()}.partial")  # several processes may begin at once
    partial.write_text(said, encoding="utf-8")
    partial.replace(note)
