"""The tables of the CT collection: patient and acquisition of each file."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from bioatt.core.errors import InputError


@dataclass(frozen=True)
class CollectionFile:
    """A file of the collection, with its name in the tables (`volumes/….nrrd`, `slices/….nrrd`)."""

    name: str
    patient: str
    kernel: str | None
    thickness_mm: float | None


def is_collection(folder: Path) -> bool:
    """Whether the folder has the collection's tables."""
    return (folder / "SOURCES.md").is_file() and (folder / "slices.csv").is_file()


def collection(folder: Path) -> list[CollectionFile]:
    """The volumes (table of SOURCES.md), then the single slices (slices.csv). Raises InputError if a table is
    missing.
    """
    try:
        lines = (folder / "SOURCES.md").read_text(encoding="utf-8").splitlines()
        with (folder / "slices.csv").open(encoding="utf-8") as file:
            slices = list(csv.DictReader(file))
    except OSError:
        raise InputError(f"{folder.name} is not the CT collection: it needs SOURCES.md and slices.csv") from None
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines if line.startswith("|")]
    columns = next((row for row in rows if row[0] == "file"), [])
    volumes = [dict(zip(columns, row, strict=False)) for row in rows if row[0].startswith("volumes/")]
    return [_file(row, "slice thickness mm") for row in volumes] + [_file(row, "thickness_mm") for row in slices]


def _file(row: dict[str, str], thickness: str) -> CollectionFile:
    millimetres = row.get(thickness)
    return CollectionFile(
        row["file"], row["patient"], row.get("kernel") or None, float(millimetres) if millimetres else None
    )
