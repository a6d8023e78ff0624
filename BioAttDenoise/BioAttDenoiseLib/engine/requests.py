"""All requests to the worker (see Docs/worker_protocol.md)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from ..scene import regions, volumes
from ..scene.segmentations import Labels
from .job import Request
from .options import EngineOptions, unblended

Anatomy = str | Labels
"""Source of the organs: "maps", "segmentation:FILE", or the labels of a segmentation in the scene."""


def denoise(
    node: Any,
    region: regions.Region,
    options: EngineOptions,
    attention: dict[str, Any] | None = None,
    organ_strength: dict[str, float] | None = None,
    anatomy: Anatomy = "maps",
) -> Request:
    """Denoise a region of a volume node. attention: {stages, descriptors (None: all), unified}, or None for no maps.
    organ_strength: strengths, 0 … 1, of organs that `anatomy` finds.
    """
    level = isinstance(options.strength, str)
    sent, fields = region.fields(slicer.util.arrayFromVolume(node), volumes.ijk_to_ras(node), everything=level)
    if attention is not None:
        fields["attention"] = attention
    fields |= _by_organ(organ_strength, anatomy)
    return _of_volume("denoise", node, options, sent, fields)


def attention_maps(node: Any, region: regions.Region, options: EngineOptions, attention: dict[str, Any]) -> Request:
    """Compute the attention maps of a region; strength does not matter."""
    return denoise(node, region, unblended(options), attention)


def strength(node: Any, options: EngineOptions) -> Request:
    """Resolve low, medium and high for a volume node."""
    fields: dict[str, Any] = {"volume": regions.geometry(volumes.ijk_to_ras(node))}
    return _of_volume("strength", node, unblended(options), np.array(slicer.util.arrayFromVolume(node)), fields)


def preview(
    node: Any,
    region: regions.Region,
    options: EngineOptions,
    p: dict[str, float] | None = None,
    organ_strength: dict[str, float] | None = None,
    anatomy: Anatomy = "maps",
) -> Request:
    """Denoise one slice (a region of one). p: probabilities by descriptor in place of the source's. organ_strength,
    anatomy: as in `denoise`.
    """
    axial, matrix = region.axial_first(slicer.util.arrayFromVolume(node), volumes.ijk_to_ras(node))
    # the engine expects a stack of axial slices; from any other stack, send the axial slices around this one
    stack = replace(region, axis=0)
    sent, fields = stack.fields(axial, matrix)
    fields.pop("slices", None)
    fields["slice"] = stack.start - stack.context[0]
    if p is not None:
        fields["p"] = {"descriptors": list(p), "probabilities": list(p.values())}
    fields |= _by_organ(organ_strength, anatomy)
    return _of_volume("preview", node, options, sent, fields)


def organs(
    node: Any, after: Any, anatomy: Anatomy, device: str, reference: str = "muscle", maps: tuple[str, ...] = ()
) -> Request:
    """Find and measure the organs of a volume node, and of `after` on the same grid (None: only before). reference: the
    organ, or muscle, against which contrast is measured. maps: organs whose maps are requested.
    """
    fields: dict[str, Any] = {
        "device": device,
        "anatomy": _anatomy(anatomy),
        "reference": reference,
        "maps": list(maps),
    }
    fields["volume"] = {**_volume(node), "acquisition": volumes.acquisition(node)}
    if after is not None:
        fields["after"] = _volume(after)
    return Request("organs", fields)


def batch(
    source: Path,
    output: Path,
    rules: Path | None,
    *,
    model: str,
    strength: float | str,
    device: str,
    organ_strength: dict[str, float],
) -> Request:
    """Denoise all scans of a folder into another, following a rules file, or the other settings if there is none."""
    fields = {"source": {"path": str(source)}, "output": {"path": str(output)}, "device": device}
    if rules is not None:
        return Request("batch", {**fields, "rules": str(rules)})
    return Request("batch", {**fields, "model": model, "strength": strength, "organ_strength": organ_strength})


def export(node: Any, source: Path, series: str, output: Path) -> Request:
    """Write an output node as a DICOM series derived from one in a folder. series: its UID, empty for the longest."""
    names = ("Model", "ModelVersion", "Strength", "StrengthLevel", "OrganStrength")
    made = {name: node.GetAttribute(f"{volumes.ATTRIBUTE}{name}") or "" for name in names}
    fields = {
        "volume": _volume(node),
        "source": {"path": str(source), "series": series or None},
        "output": {"path": str(output)},
        "model": {"name": made["Model"], "version": made["ModelVersion"]},
        "strength": float(made["Strength"] or 0),
        "strength_asked": made["StrengthLevel"],
        "organ_strength": json.loads(made["OrganStrength"] or "{}"),
    }
    return Request("export", fields)


def load(options: EngineOptions) -> Request:
    """Load the model into memory."""
    return Request("load", options.fields)


def check(requirements: list[str]) -> Request:
    """Check which of these Python packages are installed."""
    return Request("check", {"requirements": requirements})


def models(action: str, name: str, **fields: Any) -> Request:
    """Download, import or remove a model's files."""
    return Request("models", {"action": action, "name": name, **fields})


def _volume(node: Any) -> dict[str, Any]:
    """A whole volume node: a copy of its voxels, and its geometry."""
    return {**regions.geometry(volumes.ijk_to_ras(node)), "array": np.array(slicer.util.arrayFromVolume(node))}


def _by_organ(organ_strength: dict[str, float] | None, anatomy: Anatomy) -> dict[str, Any]:
    return {"organ_strength": organ_strength, "anatomy": _anatomy(anatomy)} if organ_strength else {}


def _anatomy(anatomy: Anatomy) -> Any:
    if isinstance(anatomy, str):
        return anatomy
    labels = {**regions.geometry(anatomy.ijk_to_ras), "array": anatomy.array}
    return {"labels": labels, "names": {str(value): name for value, name in anatomy.names.items()}}


def _of_volume(kind: str, node: Any, options: EngineOptions, array: np.ndarray, fields: dict[str, Any]) -> Request:
    fields["volume"] |= {
        "array": array,
        "acquisition": volumes.acquisition(node),
        "files": volumes.dicom_files(node),
    }
    return Request(kind, {**options.fields, **fields})
