"""Rules: which scans are denoised, with which model and strength, and in which formats. A TOML file:

    [[rule]]
    name = "low-dose chest"                              # for the report; default "rule 1"
    match.series_description = ["*chest*", "*thorax*"]   # shell patterns, one must match; case is ignored
    match.kernel = "B*"                                  # as series_description
    match.modality = "CT"                                # as series_description
    match.thickness_mm = [0.5, 3]                        # lowest and highest, inclusive
    match.ctdi_vol_mgy = [0, 4]                          # dose, as thickness_mm
    model = "bioatt"                                     # name or .safetensors file next to this one; default "auto"
    strength = "medium"                                  # 0 to 1, low, medium or high; default 0.75
    organ_strength = {lungs = 0.5}
    formats = ["dicom", "nii.gz"]                        # default: the input's own

    [[rule]]
    match.series_description = "*MPR*"
    skip = true

`target_noise_hu = 12` instead of `strength` sets the noise to leave in soft tissue. The first rule whose conditions are
all met applies; a scan that meets no rule is left out. A condition on an unknown property is not met. A rule without
conditions is met by every scan.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

from bioatt.anatomy.strength import checked_organ_strength
from bioatt.core.errors import InputError
from bioatt.core.strength import DEFAULT_STRENGTH, Strength, TargetNoise, parse_strength
from bioatt.service.facts import Facts

Parsed = TypeVar("Parsed")

FORMATS = ("dicom", "nrrd", "nii.gz", "mha")
PATTERNS = ("series_description", "kernel", "modality")
RANGES = ("thickness_mm", "ctdi_vol_mgy")


@dataclass(frozen=True)
class Rule:
    """A rule. patterns: lower case, by name of the fact; one must match. ranges: lowest and highest, by name.

    formats: from FORMATS; empty for the input's own.
    """

    name: str
    patterns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    skip: bool = False
    model: str = "auto"
    strength: Strength = DEFAULT_STRENGTH
    organ_strength: Mapping[str, float] = field(default_factory=dict)
    formats: tuple[str, ...] = ()

    def met_by(self, facts: Facts) -> bool:
        """Whether a scan meets all conditions."""
        for name, patterns in self.patterns.items():
            text = getattr(facts, name)
            if text is None or not any(fnmatchcase(text.strip().lower(), pattern) for pattern in patterns):
                return False
        for name, (low, high) in self.ranges.items():
            value = getattr(facts, name)
            if value is None or not low <= value <= high:
                return False
        return True

    def settings(self) -> dict[str, Any]:
        """Parts of the rule that, together with the model's weights, determine the result; for manifests."""
        return {
            "strength": str(self.strength) if isinstance(self.strength, TargetNoise) else self.strength,
            "organ_strength": dict(sorted(self.organ_strength.items())),
            "formats": list(self.formats),
        }


EVERY_SCAN = (Rule("default"),)
"""The rules if no file is given."""


def first_met(rules: tuple[Rule, ...], facts: Facts) -> Rule | None:
    """The rule that applies to a scan; None if none does."""
    return next((rule for rule in rules if rule.met_by(facts)), None)


def read_rules(path: Path) -> tuple[Rule, ...]:
    """Read the rules of a TOML file, in order. Raises InputError that names the invalid key and the reason."""
    return read_toml(path, "rules", lambda document: rules_of(document, path.parent))


def read_toml(path: Path, what: str, parse: Callable[[dict[str, Any]], Parsed]) -> Parsed:
    """Parse a TOML file with `parse`. Raises InputError with the file's name, `what` it holds, and parse's reason."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{what} {path.name} cannot be opened ({error.strerror}): check the path") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{what} {path.name} are not valid TOML ({error}): correct the file") from None
    try:
        return parse(document)
    except InputError as error:
        raise InputError(f"{what} {path.name}: {error}") from None


def rules_of(document: Mapping[str, Any], folder: Path) -> tuple[Rule, ...]:
    """Rules from a parsed file, with paths relative to `folder`. Raises InputError as `read_rules`."""
    _read(document, {"rule": lambda rules: rules}, "the file")
    tables = document.get("rule")
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise InputError("no [[rule]]: add at least one")
    return tuple(_rule(table, f"rule {number}", folder) for number, table in enumerate(tables, start=1))


def _rule(table: Mapping[str, Any], place: str, folder: Path) -> Rule:
    readers: dict[str, Callable[[Any], Any]] = {
        "name": _text,
        "skip": _flag,
        "model": lambda value: _model(value, folder),
        "strength": _strength,
        "target_noise_hu": lambda value: TargetNoise(_number(value)),
        "organ_strength": lambda value: checked_organ_strength({k: _number(v) for k, v in _table(value).items()}),
        "formats": _formats,
    }
    matchers: dict[str, Callable[[Any], Any]] = {**dict.fromkeys(PATTERNS, _patterns), **dict.fromkeys(RANGES, _range)}
    given = _read({key: value for key, value in table.items() if key != "match"}, readers, place)
    match = _read(_table(table.get("match", {}), f"{place}: match"), matchers, f"{place}: match")
    if {"strength", "target_noise_hu"} <= set(given):
        raise InputError(f"{place}: strength and target_noise_hu are mutually exclusive: give one")
    if "target_noise_hu" in given:
        given["strength"] = given.pop("target_noise_hu")
    if given.get("skip") and set(given) - {"skip", "name"}:
        raise InputError(f"{place}: skip leaves the scan out: remove {', '.join(set(given) - {'skip', 'name'})}")
    patterns = {key: value for key, value in match.items() if key in PATTERNS}
    ranges = {key: value for key, value in match.items() if key in RANGES}
    return Rule(**{"name": place, **given, "patterns": patterns, "ranges": ranges})


def read_values(
    table: Mapping[str, Any], readers: Mapping[str, Callable[[Any], Any]], needed: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Read each value of a TOML table with its key's reader. Raises InputError that names the key."""
    for key in table:
        if key not in readers:
            raise InputError(f"unknown key {key!r:.40}: use {', '.join(readers)}")
    for key in needed:
        if key not in table:
            raise InputError(f"{key} is missing: add it")
    values = {}
    for key, value in table.items():
        try:
            values[key] = readers[key](value)
        except InputError as error:
            raise InputError(f"{key}: {error}") from None
    return values


def _read(table: Mapping[str, Any], readers: Mapping[str, Callable[[Any], Any]], place: str) -> dict[str, Any]:
    try:
        return read_values(table, readers)
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError("give a string in quotes")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError("give true or false")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{value!r:.40} is not a number: give one")
    return float(value)


def _table(value: Any, place: str = "") -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{place and place + ': '}give a table of keys and values")
    return value


def _model(value: Any, folder: Path) -> str:
    name = _text(value)
    return str(folder / name) if name.endswith(".safetensors") else name


def _strength(value: Any) -> float | str:
    return parse_strength(value if isinstance(value, str) else _number(value))


def _patterns(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) and value else [value]
    return tuple(_text(one).strip().lower() for one in values)


def _range(value: Any) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2:
        raise InputError("give [lowest, highest]")
    low, high = map(_number, value)
    if not low <= high:
        raise InputError(f"give [lowest, highest], not [{low:g}, {high:g}]")
    return low, high


def _formats(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if not values or any(one not in FORMATS for one in values):
        raise InputError(f"give a list of {', '.join(FORMATS)}")
    return tuple(dict.fromkeys(values))
