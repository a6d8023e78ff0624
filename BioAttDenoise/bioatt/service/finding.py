"""Finding scans in a folder tree, file, list or CSV: each DICOM series and each volume file, from headers only."""

from __future__ import annotations

import csv
import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pydicom.dataset import Dataset

from bioatt.core.errors import InputError
from bioatt.io.dicom.frames import source_header
from bioatt.io.dicom.groups import OF_A_SERIES
from bioatt.io.dicom.kinds import MULTI_FRAME, Kind, kind_of
from bioatt.io.dicom.slices import (
    damaged_header,
    folders_below,
    image_header,
    is_directory,
    kernel_of,
    lenient,
)
from bioatt.io.files import suffix_of
from bioatt.io.images import READABLE, read_acquisition
from bioatt.io.integrity import data_files
from bioatt.service.facts import Facts

LISTS = (".txt", ".csv")
PATH, NAME = "path", "name"
"""Columns of a CSV; others are ignored."""


@dataclass(frozen=True)
class Series:
    """One CT series, or one volume file, to denoise.

    name: path of its results below the output folder, e.g. "patient/study/series_3". files: input of `read_volume`.
    facts: from its header; empty if it cannot be read.
    """

    name: str
    files: tuple[Path, ...]
    facts: Facts = field(default_factory=Facts)

    @property
    def content(self) -> list[Path]:
        """The files that make up the scan, including the data files of detached headers (.mhd, .nhdr)."""
        return [one for file in self.files for one in (file, *data_files(file))]

    @property
    def size(self) -> int:
        """Size in bytes; missing files count as 0."""
        return sum(file.stat().st_size for file in self.content if file.is_file())


@dataclass
class Found:
    """Scans found. series: by name. left_out: counts by kind of images other than CT slices in HU, e.g. localizers."""

    series: list[Series] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


class _Entry(NamedTuple):
    """A path to search, and the name for its results."""

    path: Path
    name: str


def find_series(source: Path) -> Found:
    """Find all CT series and volume files.

    source: a folder (searched recursively), a DICOMDIR (for its folder), a file, or a list with paths relative to it:
    .txt (one path per line, # for comments) or .csv (column `path`, optionally `name` for the results).
    Unreadable files, such as truncated slices, are assigned to the series of their folder, so that reading the series
    reports them. Raises InputError if `source` is missing, a list cannot be used, or nothing is found.
    """
    if not source.exists():
        raise InputError(f"{source.absolute().name}: no such file or folder: check the path")
    entries = _listed(source) if suffix_of(source) in LISTS and source.is_file() else [_Entry(source, "")]
    found = Found()
    with lenient():
        for entry in entries:
            _look(entry, found)
    if not found.series:
        kinds = ", ".join(f"{count} x {kind}" for kind, count in found.left_out.items())
        what = f"no CT, only {kinds}" if kinds else "neither DICOM nor .nrrd, .nii.gz, .mha"
        raise InputError(f"{source.absolute().name}: {what}: give a folder, file, .txt or .csv of CT scans")
    found.series = _unique_names(found.series)
    return found


def _unique_names(series: list[Series]) -> list[Series]:
    """Sort by name, drop duplicates, and number scans of the same name."""
    count: Counter[str] = Counter()
    numbered = []
    for one in sorted({one.files: one for one in series}.values(), key=lambda one: one.name):
        count[one.name] += 1
        numbered.append(replace(one, name=f"{one.name}-{count[one.name]}") if count[one.name] > 1 else one)
    return numbered


def facts_of_file(path: Path) -> Facts:
    """Facts of a volume file; its name without suffix serves as series description."""
    scan = read_acquisition(path)
    return Facts(_stem(path), scan.kernel, scan.modality or "CT", scan.slice_thickness_mm)


def facts_of_header(header: Dataset) -> Facts:
    """Facts of a DICOM series."""

    def number(keyword: str) -> float | None:
        try:
            return float(header.get(keyword))
        except (TypeError, ValueError):
            return None

    return Facts(
        str(header.get("SeriesDescription") or "") or None,
        kernel_of(header),
        str(header.get("Modality") or "") or None,
        number("SliceThickness"),
        number("CTDIvol"),
    )


def _listed(source: Path) -> list[_Entry]:
    """The entries of a list. Raises InputError if it cannot be used."""
    try:
        text = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"list {source.name} cannot be read ({error}): give UTF-8 text") from None
    if suffix_of(source) == ".csv":
        table = csv.DictReader(text.splitlines())
        if PATH not in (table.fieldnames or ()):
            raise InputError(f"list {source.name} has no column {PATH!r}: add it to the first line")
        rows = [((row[PATH] or "").strip(), (row.get(NAME) or "").strip()) for row in table]
    else:
        rows = [(line.strip(), "") for line in text.splitlines() if not line.startswith("#")]
    rows = [row for row in rows if row[0]]
    if not rows:
        raise InputError(f"list {source.name} names no scan: give one per line")
    paths = [Path(os.path.abspath(source.parent / path)) for path, _ in rows]
    try:
        common = Path(os.path.commonpath([path.parent for path in paths]))
    except ValueError:  # on different drives
        common = None
    entries = []
    for path, (_, name) in zip(paths, rows, strict=True):
        own = path.with_name(_stem(path)) if suffix_of(path) in READABLE else path
        place = PurePosixPath(name or (own.relative_to(common).as_posix() if common else own.name))
        if place.is_absolute() or ".." in place.parts:
            raise InputError(
                f"list {source.name}: name {name!r:.60} points outside the output folder: give a plain name"
            )
        entries.append(_Entry(path, place.as_posix()))
    return entries


def _look(entry: _Entry, found: Found) -> None:
    path = entry.path
    if path.is_file() and is_directory(path):
        path = path.parent
    if path.is_dir():
        return _look_through(path, entry.name, found)
    if suffix_of(path) in READABLE or not path.exists():
        found.series.append(Series(entry.name or _stem(path), (path,), facts_of_file(path)))
        return None
    images = _Images(path.parent)
    images.look_at(path)
    named = images.series(path.parent, found) or [Series("", (path,))]  # reading it reports what is wrong
    found.series += [Series(entry.name or path.name, series.files, series.facts) for series in named]
    return None


def _look_through(top: Path, name: str, found: Found) -> None:
    images = _Images(top)
    for folder, names in folders_below(top, images.unreadable):
        for file in (folder / one for one in names if not one.startswith(".")):
            if suffix_of(file) in READABLE:
                place = PurePosixPath(name, file.parent.relative_to(top).as_posix(), _stem(file))
                found.series.append(Series(str(place), (file,), facts_of_file(file)))
            else:
                images.look_at(file)
    for series in images.series(top, found):
        found.series.append(Series(str(PurePosixPath(name, series.name)), series.files, series.facts))


def _stem(path: Path) -> str:
    return path.name[: len(path.name) - len(suffix_of(path))]


class _Images:
    """The DICOM images of a tree by series, and its unreadable files by folder."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.files: dict[tuple[str, ...], list[Path]] = {}
        self.facts: dict[tuple[str, ...], Facts] = {}
        self.damaged: defaultdict[Path, list[Path]] = defaultdict(list)
        self.empty: defaultdict[Path, list[Path]] = defaultdict(list)
        self.left_out: Counter[str] = Counter()

    def unreadable(self, error: OSError) -> None:
        """Record a folder that cannot be listed."""
        self.damaged[Path(error.filename)].append(Path(error.filename))

    def look_at(self, file: Path) -> None:
        """Read a file's header."""
        try:
            image = image_header(file)
            if not file.stat().st_size:
                self.empty[file.parent].append(file)
            if image is not None:
                with damaged_header(file):
                    self._add(file, image[1], kind_of(image[1]))
        except (InputError, OSError):
            self.damaged[file.parent].append(file)

    def _add(self, file: Path, header: Dataset, kind: Kind) -> None:
        if not kind.usable:
            self.left_out[kind.name] += 1
            return
        own = tuple(str(header.get(keyword) or "") for keyword in OF_A_SERIES)
        key = own if header.get("SeriesInstanceUID") else (*own, str(file.parent))
        if key not in self.facts:
            self.facts[key] = facts_of_header(source_header(file, 0) if kind is MULTI_FRAME else header)
            self.files[key] = []
        self.files[key].append(file)

    def series(self, top: Path, found: Found) -> list[Series]:
        """Each series with its files and the damaged and empty files of their folders; other damaged files alone."""
        found.left_out += self.left_out
        reported: set[Path] = set()
        series = []
        for key, files in self.files.items():
            folders = {file.parent for file in files}
            reported |= folders
            damaged = [file for folder in sorted(folders) for file in (*self.damaged[folder], *self.empty[folder])]
            place = Path(os.path.commonpath([file.parent for file in files])).relative_to(top)
            number = key[OF_A_SERIES.index("SeriesNumber")]
            leaf = f"series_{int(number)}" if _is_number(number) else "series"
            series.append(Series((place / leaf).as_posix(), (*files, *damaged), self.facts[key]))
        for folder in sorted(self.damaged.keys() - reported):
            series += [Series(file.relative_to(top).as_posix(), (file,)) for file in self.damaged[folder]]
        return series


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
