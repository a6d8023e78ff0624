"""Required and optional fields of each request, with their types (Docs/worker_protocol.md)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """A kind of JSON value: its description and a test for it."""

    words: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Fields:
    """A JSON object: required fields, and optional ones that may be absent or null.

    words: description of the object. instead: (name, other fields) that apply if the object has a field of this name.
    """

    needed: Mapping[str, Kind | Fields]
    optional: Mapping[str, Kind | Fields]
    words: str = "an object"
    instead: tuple[str, Fields] | None = None


def fault(request: Mapping[str, Any], kind: str) -> str | None:
    """One line on what is missing or has the wrong type in a request of this kind; None if it is valid."""
    return _fault(request, REQUESTS[kind], kind, "")


def _fault(value: Mapping[str, Any], fields: Fields, kind: str, path: str) -> str | None:
    if fields.instead is not None and fields.instead[0] in value:
        fields = fields.instead[1]
    for name, expected in {**fields.needed, **fields.optional}.items():
        found, full = value.get(name), path + name
        if found is None and name in fields.needed:
            return f"{kind} needs {full}, {expected.words}"
        if found is None:
            continue
        if isinstance(expected, Kind):
            if not expected.holds(found):
                return f"{kind}: {full} must be {expected.words}"
        elif not isinstance(found, dict):
            return f"{kind}: {full} must be {expected.words}"
        elif inner := _fault(found, expected, kind, f"{full}."):
            return inner
    unknown = [name for name in value if path and name not in {*fields.needed, *fields.optional}]
    return f"{kind}: {path}{unknown[0]!r:.40} is not a field of the protocol" if unknown else None


def is_whole(value: Any) -> bool:
    """Whether a JSON value is an integer; true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def _is_text(value: Any) -> bool:
    """Whether a value is text that can be a name in the file system."""
    try:
        return isinstance(value, str) and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def _is_object(value: Any, kind: Kind) -> bool:
    return isinstance(value, dict) and all(map(kind.holds, value.values()))


def _list_of(words: str, holds: Callable[[Any], bool], length: int | None = None) -> Kind:
    def test(value: Any) -> bool:
        return isinstance(value, list) and length in (None, len(value)) and all(map(holds, value))

    return Kind(words, test)


TEXT, WHOLE, NUMBER = Kind("text", _is_text), Kind("a whole number", is_whole), Kind("a number", _is_number)
BOOLEAN = Kind("true or false", lambda value: isinstance(value, bool))
TEXTS, NUMBERS = _list_of("a list of texts", _is_text), _list_of("a list of numbers", _is_number)
THREE = _list_of("a list of three numbers", _is_number, 3)
MATRIX = _list_of("three lists of three numbers", THREE.holds, 3)
STRENGTH = Kind(
    "a number or low, medium or high", lambda value: _is_number(value) or value in ("low", "medium", "high")
)
ACTION = Kind("download, import or remove", lambda value: value in ("download", "import", "remove"))

OPTIONS = {**dict.fromkeys(("model", "prior", "descriptors", "device", "precision"), TEXT), "tile": WHOLE}
ACQUISITION = Fields({}, {"kernel": TEXT, "slice_thickness_mm": NUMBER, "kvp": NUMBER, "modality": TEXT})
VOLUME: dict[str, Kind | Fields] = {
    "volume": Fields(
        {"array": TEXT, "spacing": THREE, "origin": THREE, "direction": MATRIX},
        {"acquisition": ACQUISITION, "files": TEXTS},
        "an object with a path, or with array, spacing, origin and direction",
        instead=("path", Fields({"path": TEXT}, {"series": TEXT, "phase": TEXT})),
    )
}
_LABELS = Fields(
    {"labels": VOLUME["volume"], "names": Kind("an object of names", lambda value: _is_object(value, TEXT))}, {}
)
ANATOMY = Kind(
    "maps, segmentation:LABELS, or an object with labels (a volume) and names (label values to names)",
    lambda value: _is_text(value) or (isinstance(value, dict) and _fault(value, _LABELS, "", "anatomy.") is None),
)
STRENGTHS = Kind("an object of numbers", lambda value: _is_object(value, NUMBER))
RUN: dict[str, Kind | Fields] = {
    **OPTIONS,
    "strength": STRENGTH,
    "target_noise": NUMBER,
    "organ_strength": STRENGTHS,
    "anatomy": ANATOMY,
    "output": Fields({"path": TEXT}, {"series": BOOLEAN}),
    "attention": Fields({}, {"stages": TEXTS, "descriptors": TEXTS, "unified": BOOLEAN}),
}
_PLACE = Fields({"path": TEXT}, {})
REQUESTS = {
    "hello": Fields({}, {}),
    "check": Fields({"requirements": TEXTS}, {}),
    "load": Fields({}, OPTIONS),
    "prior": Fields(VOLUME, OPTIONS),
    "strength": Fields(VOLUME, OPTIONS),
    "denoise": Fields(VOLUME, {**RUN, "slices": _list_of("a list of two whole numbers", is_whole, 2)}),
    "batch": Fields(
        {"source": _PLACE, "output": _PLACE},
        {"rules": TEXT, "model": TEXT, "device": TEXT, "strength": STRENGTH, "organ_strength": STRENGTHS},
    ),
    "preview": Fields(
        {**VOLUME, "slice": WHOLE}, {**RUN, "p": Fields({"descriptors": TEXTS, "probabilities": NUMBERS}, {})}
    ),
    "organs": Fields(
        VOLUME,
        {"device": TEXT, "after": VOLUME["volume"], "anatomy": ANATOMY, "reference": TEXT, "maps": TEXTS},
    ),
    "export": Fields(
        {
            **VOLUME,
            "source": Fields({"path": TEXT}, {"series": TEXT}),
            "output": _PLACE,
            "model": Fields({"name": TEXT, "version": TEXT}, {}),
            "strength": NUMBER,
        },
        {"organ_strength": STRENGTHS, "strength_asked": TEXT},
    ),
    "models": Fields({"action": ACTION}, {"name": TEXT, "folder": TEXT}),
}
"""Fields by request type. The engine ignores any other fields of a request, but nested objects may have no others."""
