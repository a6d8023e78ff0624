"""A note in a run's folder of what made it, so that other data or settings do not go on with it."""

from __future__ import annotations

from pathlib import Path

from bioatt.core.errors import InputError
from bioatt.io.files import atomic_write, make_folder, not_written


def guard_run(note: Path, said: str, other: str) -> None:
    """Write the note, or find it to say the same; its folder is made where it is missing.

    Raises InputError, naming `other`, where the note says otherwise, and where it cannot be written.
    """
    folder = note.parent
    make_folder(folder)
    try:
        if note.is_file():
            if note.read_text(encoding="utf-8", errors="replace") != said:
                raise InputError(f"{folder.name} was made with {other}: choose another folder, or remove it")
            return
        with atomic_write(note) as partial:  # several processes may begin at once
            partial.write_text(said, encoding="utf-8")
    except OSError as error:
        raise not_written(note, error) from None
