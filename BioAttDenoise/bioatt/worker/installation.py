"""State of installed packages from their metadata, without imports that might be broken or slow."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterable
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from bioatt.core.errors import InputError

PACKAGE_OF = {"open-clip-torch": "open_clip"}
"""Import names that differ from the distribution's by more than a hyphen."""


def check_requirements(requirements: Iterable[str]) -> list[dict[str, Any]]:
    """State of each requirement (PEP 508): {requirement, name, version, state}.

    state: ok; missing; old (a version other than required); broken (an interrupted installation leaves metadata without
    version or record, or without the package itself). Raises InputError for an invalid requirement.
    """
    return [_check(_parsed(text)) for text in requirements]


def _parsed(text: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement:
        raise InputError(f"{text!r:.80} is not a requirement: write it as in PEP 508, e.g. numpy>=2") from None


def _check(requirement: Requirement) -> dict[str, Any]:
    found: dict[str, Any] = {"requirement": str(requirement), "name": requirement.name, "version": None}
    try:
        distribution = importlib.metadata.distribution(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return {**found, "state": "missing"}
    found["version"] = distribution.metadata["Version"]
    if found["version"] is None or not distribution.files or not _has_package(requirement.name):
        return {**found, "state": "broken"}
    if not requirement.specifier.contains(found["version"], prereleases=True):
        return {**found, "state": "old"}
    return {**found, "state": "ok"}


def _has_package(name: str) -> bool:
    package = PACKAGE_OF.get(canonicalize_name(name), name.replace("-", "_"))
    try:
        specification = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return False
    return specification is not None and specification.origin is not None
