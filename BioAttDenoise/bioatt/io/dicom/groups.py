"""Grouping of a folder's slices into volumes: by series and geometry, and by phase if acquisitions alternate."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bioatt.core.errors import InputError, SeveralVolumesError
from bioatt.io.dicom.slices import CTSlice, kernel_of

TURNED_DEGREES = 0.12
"""Orientations that differ by less are equal: 2e-3 in the cosines, half a pixel at the edge of a 512 matrix."""
OF_A_SERIES = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber")
_OF_A_PHASE = (
    ("TemporalPositionIdentifier", "temporal position"),
    ("NominalPercentageOfCardiacPhase", "cardiac phase in %"),
    ("TriggerTime", "trigger time"),
    ("AcquisitionNumber", "acquisition"),
    ("KVP", "kV"),
    ("ContrastBolusAgent", "contrast"),
    ("AcquisitionDateTime", "time"),
    ("AcquisitionTime", "time"),
)
"""Elements that distinguish the volumes of one series, in order of precedence."""
_SPAN = 0.6
"""Least share of the series' length that each phase covers; acquisitions that follow one another along z cover less."""


@dataclass(frozen=True)
class Group:
    """Slices of one volume, and the label that distinguishes it within its series ("" if there is none)."""

    slices: list[CTSlice]
    phase: str = ""

    def __len__(self) -> int:
        return len(self.slices)

    @property
    def series(self) -> tuple[str, ...]:
        return tuple(self.slices[0].text(keyword) for keyword in OF_A_SERIES)


class Chosen(NamedTuple):
    """The slices of the chosen volume, and notes on the choice for the user."""

    slices: list[CTSlice]
    notes: list[str]


def groups_of(slices: list[CTSlice]) -> list[Group]:
    """Group slices into volumes, the one with the most slices first and the phases of a series in order."""
    alike: list[list[CTSlice]] = []
    for item in slices:
        home = next((group for group in alike if _fits(item, group[0])), None)
        if home is None:
            alike.append([item])
        else:
            home.append(item)
    found = [group for stack in alike for group in _phases(stack)]
    return sorted(found, key=len, reverse=True)


def choose(slices: list[CTSlice], series: str | int | None, phase: str | int | None) -> Chosen:
    """Choose the volume that series and phase name, else the one with the most slices.

    Raises InputError if nothing matches the names, or none is given and there is no single largest volume;
    SeveralVolumesError if one of several phases of a series must be chosen.
    """
    ranked = _of_series(groups_of(slices), series)
    mates = [group for group in ranked if group.series == ranked[0].series]
    if phase is not None:
        return Chosen(_named(mates, phase).slices, [])
    if len(mates) > 1 and (ranked[0].phase or len(mates[0]) == len(mates[1])):
        raise SeveralVolumesError(
            f"{len(mates)} volumes in one series, {_listing(mates)}: choose one with --phase NUMBER",
            [describe(group, mates[0]) for group in mates],
        )
    if len(ranked) > 1 and len(ranked[0]) == len(ranked[1]):
        raise InputError(
            f"{len(ranked)} CT series, the longest of equal length: {_listing(ranked)}; name one by its number or UID, "
            "or move it to a separate folder"
        )
    if len(ranked) == 1:
        return Chosen(ranked[0].slices, [])
    unnamed = "; ".join(
        describe(group, ranked[0]) for group in ranked[:8]
    )  # notes end up in reports, which name no files
    return Chosen(ranked[0].slices, [f"the longest of {len(ranked)} CT series was used: {unnamed}"])


def _of_series(ranked: list[Group], series: str | int | None) -> list[Group]:
    if series is None:
        return ranked
    names = ("SeriesNumber", "SeriesInstanceUID")
    fitting = [group for group in ranked if str(series) in (group.slices[0].text(name) for name in names)]
    if not fitting:
        raise InputError(f"no CT series {series}; found {_listing(ranked)}: choose one of these")
    return fitting


def _named(mates: list[Group], phase: str | int) -> Group:
    """Find a phase by its number from 1, else by its distinguishing label."""
    text = str(phase).strip()
    if text.isdigit() and 1 <= int(text) <= len(mates):
        return mates[int(text) - 1]
    fitting = [group for group in mates if text.lower() in describe(group, mates[0]).lower() and not text.isdigit()]
    if len(fitting) != 1:
        which = "more than one volume" if fitting else "no volume"
        raise InputError(f"phase {text!r} matches {which} of {_listing(mates)}: choose one by its number")
    return fitting[0]


def _listing(groups: list[Group]) -> str:
    named = (f"{k}: {describe(group, groups[0])} ({group.slices[0].name} ...)" for k, group in enumerate(groups, 1))
    return "; ".join(list(named)[:8])


def describe(group: Group, other: Group | None = None) -> str:
    """Describe a group: series, slices, thickness, kernel, phase, and its rotation relative to another group."""
    first = group.slices[0]
    parts = [
        f"series {first.text('SeriesNumber') or '?'}",
        f"{len(group)} slices of {first.header.Columns}x{first.header.Rows}",
    ]
    if first.text("SliceThickness"):
        parts.append(f"{float(first.header.SliceThickness):g} mm")
    if first.text("ConvolutionKernel"):
        parts.append(kernel_of(first.header) or "")
    if group.phase:
        parts.append(group.phase)
    angle = 0.0 if other is None else turned(first, other.slices[0])
    if angle > TURNED_DEGREES:
        parts.append(f"rotated by {angle:.2g} degrees")
    return " ".join(parts)


def turned(one: CTSlice, other: CTSlice) -> float:
    """Largest angle between the rows or the columns of two slices, degrees; 0 if neither has an orientation."""
    if np.isnan(one.orientation).all() and np.isnan(other.orientation).all():
        return 0.0
    angles = []
    for part in (slice(0, 3), slice(3, 6)):
        a, b = one.orientation[part], other.orientation[part]
        a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
        angles.append(2 * np.degrees(np.arcsin(min(1.0, float(np.linalg.norm(a - b)) / 2))))
    return float(np.max(angles))


def _fits(one: CTSlice, other: CTSlice) -> bool:
    """Whether two slices can belong to one volume: same series, matrix, pixel size and (TURNED_DEGREES) orientation.

    A series UID alone does not identify a series: careless anonymisers leave it blank or give all series the same UID.
    """
    a, b = one.header, other.header
    return (
        all(one.text(keyword) == other.text(keyword) for keyword in OF_A_SERIES)
        and (kernel_of(a) or kernel_of(b)) == (kernel_of(b) or kernel_of(a))
        and (a.Rows, a.Columns) == (b.Rows, b.Columns)
        and np.allclose(a.get("PixelSpacing") or 0, b.get("PixelSpacing") or 0, rtol=1e-4)
        and turned(one, other) <= TURNED_DEGREES
    )


def _phases(stack: list[CTSlice]) -> list[Group]:
    """Split a stack into acquisitions if they alternate along it; otherwise return it unchanged."""
    if len(stack) < 2 or any(np.isnan(item.position).any() or np.isnan(item.orientation).any() for item in stack):
        return [Group(stack)]
    places = [float(item.position @ _normal(stack[0])) for item in stack]
    for keyword, name in _OF_A_PHASE:
        values = [item.text(keyword) for item in stack]
        parts = sorted(set(values), key=_natural)
        if len(parts) > 1 and _alternate(places, values, parts):
            split = ([item for item, own in zip(stack, values, strict=True) if own == value] for value in parts)
            return [
                Group(inner.slices, f"{name} {value or 'none'}{inner.phase and ', ' + inner.phase}")
                for value, part in zip(parts, split, strict=True)
                for inner in _phases(part)
            ]
    return [Group(stack)]


def _alternate(places: list[float], values: list[str], parts: list[str]) -> bool:
    """Whether slices of the different values interleave along nearly the whole stack."""
    extent = max(places) - min(places)
    for value in parts:
        own = [place for place, other in zip(places, values, strict=True) if other == value]
        if max(own) - min(own) < _SPAN * extent:
            return False
    ordered = [value for _, value in sorted(zip(np.round(places, 2), values, strict=True))]
    changes = sum(a != b for a, b in itertools.pairwise(ordered))
    return extent == 0 or changes > 1.5 * (len(parts) - 1)


def _natural(value: str) -> tuple[float, str]:
    try:
        return float(value), value
    except ValueError:
        return float("inf"), value


def _normal(item: CTSlice) -> np.ndarray:
    normal = np.cross(item.orientation[:3], item.orientation[3:])
    return normal / np.linalg.norm(normal)
