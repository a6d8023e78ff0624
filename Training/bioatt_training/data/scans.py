"""The scans of a folder, single or as pairs of low and full dose, and what was left out and why."""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pydicom

from bioatt.core.errors import InputError
from bioatt.core.volume import Volume
from bioatt.io.images import READABLE, read_volume

_IMAGE_SUFFIXES = (".dcm", ".ima", "")
_HEADER_TAGS = ["PatientID", "SeriesInstanceUID", "SeriesDescription", "Modality", "Rows"]


@dataclass(frozen=True)
class Source:
    """Location of a volume: a file, or a folder with a DICOM series.

    series: selects one of several in the folder. phase: selects one of several volumes in the file or series, from 1.
    """

    path: Path
    series: str | None = None
    phase: int | None = None

    def read(self) -> Volume:
        """Read the volume. Raises InputError and SeveralVolumesError like `bioatt.io.images.read_volume`."""
        return read_volume(self.path, series=self.series, phase=self.phase)


@dataclass(frozen=True)
class Scan:
    """A full-dose scan and, in a pair, its low-dose counterpart at dose fraction `dose`.

    patient: a name, or a pseudonym of the header's PatientID, never the id itself. kernel and thickness_mm are used if
    the files lack them.
    """

    name: str
    patient: str
    full: Source
    low: Source | None = None
    dose: float = 0.25
    kernel: str | None = None
    thickness_mm: float | None = None

    def of_phase(self, number: int) -> Scan:
        """The scan restricted to one of several volumes in each of its sources, counted from 1."""
        low = self.low and replace(self.low, phase=number)
        return replace(self, name=f"{self.name} phase {number}", full=replace(self.full, phase=number), low=low)


@dataclass
class Listing:
    """The scans of a folder in layout `kind`, and (what, why) for everything unusable."""

    kind: str
    scans: list[Scan] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def leave_out(self, what: Path | str, why: str) -> None:
        """Record what is left out; paths are shortened to their last two parts."""
        self.left_out.append(("/".join(Path(what).parts[-2:]), why))


def pseudonym(patient_id: str) -> str:
    """A reproducible pseudonym for a PatientID."""
    return "p-" + hashlib.sha256(patient_id.strip().encode()).hexdigest()[:10]


def volume_files(root: Path) -> list[Path]:
    """NRRD, NIfTI and MetaImage files below a folder."""
    return sorted(path for path in root.rglob("*") if path.is_file() and path.name.lower().endswith(READABLE))


def dicom_folders(root: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Folders that directly contain possible DICOM images, and those files."""
    files = defaultdict(list)
    for path in sorted(root.rglob("*")):
        suffix = path.suffix.lower()
        named = suffix in _IMAGE_SUFFIXES or suffix[1:].isdigit()  # files named by a UID end in a number
        if named and path.is_file() and not path.name.startswith("."):
            files[path.parent].append(path)
    yield from sorted(files.items())


@dataclass(frozen=True)
class Series:
    """One CT series of a folder: patient (pseudonym), description, and how many images it has."""

    source: Source
    patient: str
    description: str
    images: int


def series_in(folder: Path, files: list[Path], listing: Listing) -> list[Series]:
    """The CT series among a folder's files; a folder with several patients is left out, as are other modalities."""
    headers = defaultdict(list)
    for path in files:
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_HEADER_TAGS))
        except Exception:  # not DICOM, or damaged: pydicom raises many kinds
            continue
        if "Rows" in header and header.get("Modality", "CT") == "CT":
            headers[str(header.get("SeriesInstanceUID", ""))].append(header)
    if not headers:
        listing.leave_out(folder, "no CT image in it")
        return []
    patients = {pseudonym(str(one.get("PatientID", ""))) for group in headers.values() for one in group}
    if len(patients) > 1:
        listing.leave_out(folder, f"mixed patients ({len(patients)} in one folder): one folder a patient")
        return []
    several = len(headers) > 1
    return [
        Series(
            Source(folder, uid if several and uid else None),
            pseudonym(str(group[0].get("PatientID", ""))),
            str(group[0].get("SeriesDescription", "")),
            len(group),
        )
        for uid, group in sorted(headers.items())
    ]


def with_patients(listing: Listing, table: Path) -> Listing:
    """The listing with patients from a CSV of columns file (a scan's name), patient. InputError if one is missing."""
    try:
        rows = list(csv.DictReader(table.open(encoding="utf-8")))
        owners = {row["file"]: row["patient"] for row in rows}
    except OSError:
        raise InputError(f"{table.name} cannot be opened: check the path") from None
    except KeyError:
        raise InputError(f"{table.name} needs the columns file and patient") from None
    if missing := [scan.name for scan in listing.scans if scan.name not in owners]:
        raise InputError(f"{table.name} names no patient for {missing[0]} and {len(missing) - 1} more: add them")
    return replace(listing, scans=[replace(scan, patient=owners[scan.name]) for scan in listing.scans])
