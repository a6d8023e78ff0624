"""`bioatt physics`: measure noise, texture, resolution, HU and detectability in a phantom or patient scan."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from bioatt.commands.console import check_text_places, print_warnings, write_text
from bioatt.commands.options import (
    add_anatomy_arguments,
    add_choice_arguments,
    anatomy_source,
    read_before_and_after,
)

if TYPE_CHECKING:
    from bioatt.core.volume import Volume

HELP = "measure noise, texture, resolution and HU of a phantom or patient scan, before and after denoising"
KINDS = ("water", "acr", "catphan")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `bioatt physics`."""
    parser.add_argument(
        "what", choices=("phantom", "patient"), help="what was scanned; a phantom is round, with identical slices"
    )
    parser.add_argument("low", metavar="LOW", help=".nrrd, .nii.gz, .mha or a DICOM folder")
    parser.add_argument("denoised", metavar="DENOISED", nargs="?", help="denoised scan, on the same grid")
    add_choice_arguments(parser)
    parser.add_argument(
        "--kind",
        choices=KINDS,
        default="water",
        help="phantom model, for the nominal HU of its inserts (default water: none)",
    )
    add_anatomy_arguments(parser)
    parser.add_argument("--json", metavar="FILE", help="write the measurements as JSON; - for standard output")
    parser.add_argument("--html", metavar="FILE", help="write a self-contained page with plots")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")


def run(args: argparse.Namespace) -> None:
    """Read the scans, measure them, and write and print the results."""
    from bioatt.core.canonical import canonical
    from bioatt.io.files import files_named

    scan, after = read_before_and_after(args.low, args.denoised, args)
    read = [*scan.sources, *(() if after is None else after.sources), *files_named(anatomy_source(args))]
    check_text_places((args.json, args.html), *read, overwrite=args.overwrite)
    print_warnings(scan.warnings)
    forms = [canonical(one).volume for one in (scan, after) if one is not None]
    found = phantom(forms, args.kind) if args.what == "phantom" else patient(forms, anatomy_source(args))
    images = found.pop("images")
    if args.html:
        from bioatt.commands.physics_page import page

        write_text(args.html, page(found, table(found), images))
    write_text(args.json, json.dumps(found, indent=1) + "\n")
    if "-" not in (args.json, args.html):
        print("\n".join(lines(found)))


def phantom(scans: list[Volume], kind: str = "water") -> dict[str, Any]:
    """Measure a phantom in one or two scans, see physics.phantom.

    Returns {"what": "phantom", "layout", "materials", "before", "after", "linearity", "images": plane spectra}.
    Raises InputError if the first scan shows no round phantom.
    """
    import numpy as np

    from bioatt.physics.phantom import find_layout, linearity, materials, measure

    layout = find_layout(scans[0].hu, scans[0].pixel_mm)
    parts = {name: measure(one.hu, one.pixel_mm, layout) for name, one in zip(("before", "after"), scans, strict=False)}
    found: dict[str, Any] = {
        "what": "phantom",
        "pixel_mm": scans[0].pixel_mm,
        "layout": {
            "radius_mm": layout.radius_mm,
            "background_hu": layout.background_hu,
            "centre_yx": layout.centre_yx,
            "inserts": [
                {"centre_yx": one.centre_yx, "radius_mm": one.radius_mm, "hu": one.hu} for one in layout.inserts
            ],
        },
        "images": {name: part.pop("nps_2d") for name, part in parts.items()},
        "research_use_only": True,
        **parts,
    }
    if kind != "water" and len(layout.inserts) > 1:
        named = materials(layout, kind)
        found["materials"] = [name for name, _ in named]
        found["linearity"] = {
            name: linearity(np.array([row["hu"] for row in part["inserts"]]), np.array([hu for _, hu in named]))
            for name, part in parts.items()
        }
    return found


def patient(scans: list[Volume], anatomy: str) -> dict[str, Any]:
    """Measure a patient in one or two scans, see physics.patient.

    Returns {"what": "patient", "organs": rows of `bioatt organs`, …, "images": noise maps}.
    """
    from bioatt.anatomy.organs import find_organs
    from bioatt.anatomy.regions import eroded
    from bioatt.compute.device import choose, tune_cpu
    from bioatt.physics.patient import measure
    from bioatt.priors.anatomy import build_anatomy

    tune_cpu()
    scan, after = scans[0], scans[1] if len(scans) > 1 else None
    organs = find_organs(scan, build_anatomy(anatomy, str(choose("cpu").device)), after=after)
    names = {row["value"]: row["organ"] for row in organs.table["organs"]}
    return {
        "what": "patient",
        "pixel_mm": scan.pixel_mm,
        "organs": organs.table["organs"],
        "warnings": organs.table["warnings"],
        "research_use_only": True,
        **measure(scan, after, eroded(organs.labels, scan.spacing), names),
    }


def lines(found: dict[str, Any]) -> list[str]:
    """Format the results as the lines that the command prints."""
    rows = table(found)
    width = max(len(name) for name, _ in rows) + 2
    return [f"{name:{width}s}{value}" for name, value in rows] + ["Research use only: not a medical device."]


def table(found: dict[str, Any]) -> list[tuple[str, str]]:
    """List each measurement's name and its value before and after."""
    return _phantom_rows(found) if found["what"] == "phantom" else _patient_rows(found)


def _phantom_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    parts = [found[name] for name in ("before", "after") if name in found]
    rows = [
        ("diameter", f"{2 * found['layout']['radius_mm']:.0f} mm, {len(found['layout']['inserts'])} inserts"),
        ("noise", _change([part["noise_hu"] for part in parts], ".1f", "HU")),
        ("NPS mean", _change([part["nps"] and part["nps"]["mean"] for part in parts], ".3f", "1/mm")),
        ("NPS peak", _change([part["nps"] and part["nps"]["peak"] for part in parts], ".3f", "1/mm")),
        ("uniformity, largest", _change([part["uniformity"]["largest"] for part in parts], ".1f", "HU")),
    ]
    names = found.get("materials", [""] * len(parts[0]["inserts"]))
    for k, name in enumerate(names):
        one = [part["inserts"][k] for part in parts]
        value = _change([row["hu"] for row in one], ".1f", "HU")
        edges = [f"{what} {_change([row[what] for row in one], '.3f', '1/mm')}" for what in ("f50", "f10")]
        rows.append((f"insert {k + 1} {name}".rstrip(), ", ".join([value, *edges])))
    for name, fit in found.get("linearity", {}).items():
        rows.append(
            (f"linearity {name}", f"slope {fit['slope']:.3f}, off by {fit['largest']:.0f} HU at most from nominal")
        )
    for task in parts[0]["d"]:
        rows.append((f"d' {task}", _change([part["d"].get(task) for part in parts], ".2f", "")))
    return rows


def _patient_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for row in found["organs"]:
        shift = "" if row["shift"] is None else f", mean {row['shift']:+.1f} HU{'!' * bool(row['moved'])}"
        noise = [row["noise_before"], row["noise_after"]][: 1 + (row["shift"] is not None)]
        rows.append((row["organ"], f"noise {_change(noise, '.1f', 'HU')}{shift}"))
    for organ, one in found["nps"].items():
        mean = [one[name]["mean"] for name in ("before", "after") if name in one]
        rows.append((f"NPS mean, {organ}", _change(mean, ".3f", "1/mm")))
    for tissue, shift in (found["hu_by_tissue"] or {}).items():
        rows.append((f"HU change, {tissue}", f"{shift:+.2f} HU"))
    if found["structure"] is not None:
        check = found["structure"]
        rows.append(("structure check", f"{check['voxels']} voxels marked in {check['slices']} slices"))
    return rows or [("organs", "none found")]


def _change(values: list[float | None], digits: str, unit: str) -> str:
    text = " -> ".join("-" if value is None else format(value, digits) for value in values)
    return f"{text} {unit}".rstrip()
