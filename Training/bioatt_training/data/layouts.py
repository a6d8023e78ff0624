"""Folder layouts: Mayo 2016, LDCT-and-Projection-data, pairs of folders, single scans, the CT collection."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from bioatt.core.errors import InputError
from bioatt_training.data.collection import collection, is_collection
from bioatt_training.data.scans import Listing, Scan, Series, Source, dicom_folders, series_in, volume_files

_MAYO = re.compile(r"^(full|quarter)_(\d)mm(_sharp)?$", re.IGNORECASE)
_PATIENT = re.compile(r"^[LNC]\d{3}$", re.IGNORECASE)
_TCIA = re.compile(r"\b(full|low)[ _-]dose[ _-](images|projections)", re.IGNORECASE)
_LOW_WORDS = ("low", "quarter", "ldct", "ld", "qd", "input", "noisy")
_FULL_WORDS = ("full", "high", "ndct", "hdct", "fd", "normal", "target", "clean")
TCIA_DOSES = {"C": 0.10, "L": 0.25, "N": 0.25}
"""Dose fractions of LDCT-and-Projection-data by the first letter of the patient: chest 10 %, abdomen and head 25 %."""

Pieces = dict[tuple[str, ...], dict[str, Source]]


def find_scans(root: Path) -> Listing:
    """List a folder and detect its layout. Raises InputError if it is missing or contains no usable scan."""
    if not root.is_dir():
        raise InputError(f"{root.name}: no such folder: check the path")
    if is_collection(root):
        listing = _collection(root)
    elif any(_MAYO.match(path.name) for path in root.rglob("*") if path.is_dir()) or _MAYO.match(root.name):
        listing = _mayo(root)
    elif any(_TCIA.search(path.name) for path in root.rglob("*") if path.is_dir()):
        listing = _tcia(root)
    elif side_folder(root, "low") and side_folder(root, "full"):
        listing = _pair_folders(root)
    else:
        listing = _single_scans(root)
    if not listing.scans:
        reasons = "; ".join(f"{what}: {why}" for what, why in listing.left_out[:3])
        raise InputError(f"{root.name} holds no usable scan ({listing.kind}){': ' + reasons if reasons else ''}")
    return listing


def _collection(root: Path) -> Listing:
    listing = Listing("CT collection")
    for one in collection(root):
        path = root / one.name
        if path.is_file():
            listing.scans.append(
                Scan(path.name, one.patient, Source(path), kernel=one.kernel, thickness_mm=one.thickness_mm)
            )
        else:
            listing.leave_out(path, "listed in the table, but missing")
    return listing


def _mayo(root: Path) -> Listing:
    """…/[1mm B30/]full_1mm/L067/full_1mm/*.IMA and the same under quarter_1mm: pairs by patient, thickness, kernel."""
    listing = Listing("Mayo 2016")
    pieces: Pieces = defaultdict(dict)
    for folder, files in dicom_folders(root):
        parts = folder.relative_to(root.parent).parts
        marks = [match for part in parts if (match := _MAYO.match(part))]
        patients = [part.upper() for part in parts if _PATIENT.match(part)]
        if not marks or not patients:
            listing.leave_out(folder, "not under full_… or quarter_… with a patient's folder (L067)")
            continue
        kernels = [m[1].upper() for part in parts if (m := re.search(r"\b([BD]\d\d)\b", part, re.IGNORECASE))]
        kernel = kernels[-1] if kernels else "D45" if marks[-1][3] else "B30"
        if found := _longest(series_in(folder, files, listing)):
            side = "low" if marks[-1][1].lower() == "quarter" else "full"
            _add(pieces[patients[-1], marks[-1][2], kernel], side, found.source, listing)
    for (patient, thickness, kernel), sides in sorted(pieces.items()):
        name = f"{patient}_{thickness}mm_{kernel}"
        _pair_up(listing, name, patient, sides, 0.25, kernel, float(thickness))
    return listing


def _tcia(root: Path) -> Listing:
    """…/C002/date-study/1.000000-Full dose images-NNN/*.dcm and …Low Dose Images…; projections are not images."""
    listing = Listing("LDCT-and-Projection-data")
    pieces: Pieces = defaultdict(dict)
    for folder, files in dicom_folders(root):
        parts = folder.relative_to(root.parent).parts
        patient = next((part.upper() for part in parts if _PATIENT.match(part)), None)
        mark = next((match for part in parts[::-1] if (match := _TCIA.search(part))), None)
        if patient is None or mark is None:
            listing.leave_out(folder, "no patient (C002) or no full or low dose images in its name")
        elif mark[2].lower() == "projections":
            listing.leave_out(folder, "projections, not images")
        elif found := _longest(series_in(folder, files, listing)):
            _add(pieces[(patient,)], mark[1].lower(), found.source, listing)
    for (patient, *_), sides in sorted(pieces.items()):
        _pair_up(listing, patient, patient, sides, TCIA_DOSES[patient[0]], None, None)
    return listing


def _pair_folders(root: Path) -> Listing:
    """Two folders such as low/ and full/; volumes or DICOM folders of the same name form a pair."""
    listing = Listing("pairs of folders")
    pieces: Pieces = defaultdict(dict)
    owners: dict[tuple[str, ...], str] = {}
    for side in ("low", "full"):
        folder = side_folder(root, side)
        assert folder is not None
        for path in volume_files(folder):
            _add(pieces[(_common(path.name),)], side, Source(path), listing)
        for inner, files in dicom_folders(folder):
            if found := _longest(series_in(inner, files, listing)):
                key = (_common("/".join(inner.relative_to(folder).parts)),)
                owners.setdefault(key, found.patient)
                if owners[key] != found.patient:
                    listing.leave_out(inner, "a different patient than its counterpart")
                    pieces.pop(key, None)
                    continue
                _add(pieces[key], side, found.source, listing)
    for (name, *_), sides in sorted(pieces.items()):
        _pair_up(listing, name or root.name, owners.get((name,), name), sides, 0.25, None, None)
    return listing


def _single_scans(root: Path) -> Listing:
    """Every volume file is a scan of its own patient; every CT series of DICOM folders belongs to its PatientID."""
    listing = Listing("single scans")
    names = [path.name for path in volume_files(root)]
    for path in volume_files(root):
        name = path.name if names.count(path.name) == 1 else path.relative_to(root).as_posix()
        listing.scans.append(Scan(name, _stem(path.name), Source(path)))
    for folder, files in dicom_folders(root):
        for number, one in enumerate(series_in(folder, files, listing), 1):
            if one.images < 3:
                listing.leave_out(folder, f"a series of {one.images} images: a localiser or a fragment")
                continue
            name = folder.relative_to(root.parent).as_posix() + (f"#{number}" if one.source.series else "")
            listing.scans.append(Scan(name, one.patient, one.source))
    return listing


def side_folder(root: Path, side: str) -> Path | None:
    """The subfolder whose name identifies it as the "low" or "full" dose."""
    words = _LOW_WORDS if side == "low" else _FULL_WORDS
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        if set(re.split(r"[^a-z]+", folder.name.lower())) & set(words):
            return folder
    return None


def _stem(name: str) -> str:
    return re.sub(r"(\.nii)?\.[a-z]+$", "", name, flags=re.IGNORECASE)


def _common(name: str) -> str:
    """A name without its suffix and without the words for low and full dose."""
    words = re.split(r"([_\-. ]+)", _stem(name))
    kept = [word for word in words if word.lower() not in _LOW_WORDS + _FULL_WORDS]
    return re.sub(r"[_\-. ]{2,}", "_", "".join(kept)).strip("_-. ")


def _longest(series: list[Series]) -> Series | None:
    return max(series, key=lambda one: one.images, default=None)


def _add(sides: dict[str, Source], side: str, source: Source, listing: Listing) -> None:
    if side in sides:
        listing.leave_out(source.path, f"a second {side}-dose series of the same scan")
    else:
        sides[side] = source


def _pair_up(
    listing: Listing,
    name: str,
    patient: str,
    sides: dict[str, Source],
    dose: float,
    kernel: str | None,
    thickness_mm: float | None,
) -> None:
    if "full" not in sides:
        listing.leave_out(sides["low"].path, "low dose without its full dose")
        return
    if "low" not in sides:
        listing.leave_out(sides["full"].path, "full dose without its low dose: used alone, with noise inserted")
    scan = Scan(name, patient, sides["full"], sides.get("low"), dose, kernel, thickness_mm)
    listing.scans.append(scan)
