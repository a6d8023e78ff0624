"""A note in a run's folder of its data and settings, so that a run with others does not resume it."""

from __future__ import annotations

from pathlib import Path

from bioatt.core.errors import InputError
from bioatt.io.files import atomic_write, make_folder, not_written


def guard_run(note: Path, said: str, other: str) -> None:
    """Write the note, or check that it matches; its folder is created if missing.

    Raises InputError, naming `other`, if the note differs or cannot be written.
    """
    folder = note.parent
    make_folder(folder)
    try:
        if note.is_file():
            if note.read_text(encoding="utf-8", errors="replace") != said:
                raise InputError(f"{folder.name} was created with {other}: choose another folder, or remove it")
            return
        with atomic_write(note) as partial:  # several processes may start at the same time
            partial.write_text(said, encoding="utf-8")
    except OSError as error:
        raise not_written(note, error) from None
