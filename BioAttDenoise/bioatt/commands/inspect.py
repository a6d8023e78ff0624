"""`bioatt inspect`: show the contents of a file or folder, and whether and how it would be denoised."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from bioatt.core.volume import Volume

HELP = "show what a file or folder holds, and whether and how it would be denoised"
LOOKED_AT = 9
"""Number of slices, spread over the scan, whose noise is measured."""
_DOSE = {"CTDIvol": "ctdi_vol_mgy", "Exposure": "mas", "XRayTubeCurrent": "tube_current_ma"}
_DOSE_LABELS = {"ctdi_vol_mgy": "CTDIvol in mGy", "mas": "mAs", "tube_current_ma": "tube current in mA"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `bioatt inspect`."""
    from bioatt.commands.options import add_input_arguments

    add_input_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> None:
    """Print what `inspect` finds; a scan that would be refused is a result, not an error."""
    found = inspect(Path(args.input), args.series, args.phase)
    print(json.dumps(found, indent=1) if args.json else as_text(found))


def inspect(path: Path, series: str | None = None, phase: str | None = None) -> dict[str, Any]:
    """Describe the input as the reader sees it, without anything that identifies a person.

    Raises InputError if the path does not exist.
    """
    from bioatt.core.errors import InputError, SeveralVolumesError
    from bioatt.io.images import read_volume

    if not path.exists():
        raise InputError(f"{path.name}: no such file or folder: check the path")
    found: dict[str, Any] = {"input": path.absolute().name, "volumes": _volumes(path)}
    try:
        volume = read_volume(path, series=series, phase=phase)
    except InputError as error:
        if isinstance(error, SeveralVolumesError):
            found["volumes"] = found["volumes"] or [*error.volumes]
        return {**found, "denoised": False, "reason": " ".join(str(error).split())}
    described = _described(volume)
    noise = described["noise_hu"]
    return {**found, **described, **_judged(volume, math.nan if noise is None else noise)}


def _volumes(path: Path) -> list[str]:
    """The CT series and phases of a DICOM file or folder."""
    from contextlib import ExitStack

    from bioatt.core.errors import InputError
    from bioatt.io.dicom.groups import describe, groups_of
    from bioatt.io.dicom.read import ct_images
    from bioatt.io.dicom.slices import lenient
    from bioatt.io.files import suffix_of
    from bioatt.io.images import READABLE

    try:
        if path.is_file() and suffix_of(path) in READABLE:
            return []
        with lenient(), ExitStack() as scratch:
            groups = groups_of(ct_images(path, scratch))
            return [describe(group, groups[0]) for group in groups]
    except (InputError, OSError):  # read_volume reports the reason
        return []


def _described(volume: Volume) -> dict[str, Any]:
    """Geometry, values, acquisition and dose of a volume."""
    import numpy as np

    from bioatt.core.noise import noise_sd
    from bioatt.io.dicom.reconstructions import reconstruction

    chosen = np.unique(np.linspace(0, volume.shape[0] - 1, LOOKED_AT).astype(int))
    noise = [value for k in chosen if (value := noise_sd(volume.hu[k])) == value]
    header = _first_header(volume)
    acquisition = volume.acquisition
    tissue = volume.hu[~volume.padding_mask]
    return {
        "shape_zyx": list(volume.shape),
        "spacing_xyz_mm": [round(side, 6) for side in volume.spacing],
        "axial": volume.axial,
        "evenly_spaced": volume.even,
        "hu_range": [float(tissue.min()), float(tissue.max())] if tissue.size else None,
        "stored_as": volume.storage,
        "kernel": acquisition.kernel,
        "slice_thickness_mm": acquisition.slice_thickness_mm,
        "kvp": acquisition.kvp,
        "reconstruction": reconstruction({"ConvolutionKernel": acquisition.kernel} if header is None else header),
        "dose": {} if header is None else _dose(header),
        "noise_hu": round(float(np.median(noise)), 1) if noise else None,
    }


def _first_header(volume: Volume) -> Dataset | None:
    from bioatt.io.dicom.frames import source_header
    from bioatt.io.dicom.slices import SourceFile

    source = volume.sources[0]
    return source_header(source, source.frame) if isinstance(source, SourceFile) else None


def _dose(header: Dataset) -> dict[str, float]:
    """Dose from the first slice's header: CTDIvol (0018,9345) in mGy, mAs and mA."""
    values = {}
    for keyword, name in _DOSE.items():
        try:
            values[name] = float(header.get(keyword))
        except (TypeError, ValueError):
            continue
    return values


def _judged(volume: Volume, noise: float) -> dict[str, Any]:
    """Whether and how the volume would be denoised, with its warnings."""
    from bioatt.compute.memory import predicted, shortage
    from bioatt.inference.assembly import known_choice
    from bioatt.inference.models import default_model, load_model
    from bioatt.inference.suitability import training_range_warnings

    model = load_model(default_model("cpu"))
    warnings = dict.fromkeys([*volume.warnings, *training_range_warnings(model, volume, noise)])
    outputs = [".nrrd", ".mha"] if volume.even else []
    outputs += [".nii.gz"] if volume.even and volume.right_angled else []
    outputs += ["DICOM series"] if _first_header(volume) is not None else []
    way = known_choice(model)
    by = {"model": model.name, "way": None if way is None else str(way)}
    short = shortage(predicted(volume.shape, model.network.filters))
    warnings |= {short: None} if short else {}
    return {"denoised": True, **by, "outputs": outputs, "warnings": [*warnings]}


def as_text(found: dict[str, Any]) -> str:
    """Format the result of `inspect` to fit one screen."""
    lines = [found["input"]]
    lines += [f"  volume {number}: {line}" for number, line in enumerate(found["volumes"][:12], start=1)]
    if "shape_zyx" in found:
        z, y, x = found["shape_zyx"]
        spacing = " x ".join(f"{side:.4g}" for side in found["spacing_xyz_mm"])
        plane = "axial" if found["axial"] else "not axial"
        even = "" if found["evenly_spaced"] else ", unevenly spaced"
        lines.append(
            f"  geometry: {x} x {y} x {z} voxels of {spacing} mm, {plane}{even}, stored as {found['stored_as']}"
        )
        if found["hu_range"] is not None:
            lines.append("  values: {:g} to {:g} HU".format(*found["hu_range"]))
        scan = {"kernel": found["kernel"], "slice thickness in mm": found["slice_thickness_mm"], "kV": found["kvp"]}
        dose = {_DOSE_LABELS[key]: value for key, value in found["dose"].items()}
        scan |= {"reconstruction": found["reconstruction"], **dose, "noise in HU": found["noise_hu"]}
        known = [
            f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in scan.items()
            if value is not None
        ]
        lines.append(f"  scan: {', '.join(known) or 'no details in the header'}")
    if found["denoised"]:
        way = f" ({found['way']})" if found["way"] else ""
        lines.append(f"  would be denoised by {found['model']}{way}, output as {', '.join(found['outputs'])}")
        lines += [f"  warning: {line}" for line in found["warnings"]]
    else:
        lines.append(f"  would be refused: {found['reason']}")
    lines.append("Research use only: not a medical device.")
    return "\n".join(lines)
