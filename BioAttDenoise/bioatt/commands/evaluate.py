"""`bioatt evaluate`: measure a scan's image quality against a reference."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bioatt.commands.console import check_text_places, print_json, print_warnings, write_text
from bioatt.core.provenance import DENOISED_BEFORE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bioatt.anatomy.sources import AnatomySource
    from bioatt.core.volume import Volume

HELP = "compare a CT with its reference: RMSE, PSNR and SSIM in HU windows, HU bias by tissue, noise"

CHOICES = {"reference": "--", "test": "--test-", "low": "--low-"}
"""Prefix, by role, of the options that choose among several series and volumes."""
SAID = {"reference": "reference", "output": "test", "input": "low"}
"""Names of the roles in messages."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `bioatt evaluate`."""
    parser.add_argument("reference", metavar="REFERENCE", help="full-dose or noise-free CT: file or DICOM folder")
    parser.add_argument("test", metavar="TEST", help="CT to evaluate, on the same grid")
    parser.add_argument("--low", metavar="LOW", help="low-dose CT that TEST was denoised from, to show the change")
    for role, option in CHOICES.items():
        which = f"SeriesNumber or UID in {role.upper()}, if that DICOM folder holds several series"
        parser.add_argument(f"{option}series", metavar="N", dest=f"{role}_series", help=which)
        which = f"volume of {role.upper()}, if one series or file holds several: its number or label"
        parser.add_argument(f"{option}phase", metavar="N", dest=f"{role}_phase", help=which)
    parser.add_argument(
        "--organs",
        choices=("maps", "totalsegmentator"),
        help="also report the Dice of each organ in TEST against REFERENCE, segmented by the organ maps or by "
        "TotalSegmentator, if installed",
    )
    parser.add_argument("--device", default="auto", help="device for --organs: auto | cpu | cuda | cuda:N | mps")
    parser.add_argument(
        "--json", metavar="FILE", help='also write the metrics, {"input": of LOW, "output": of TEST}; - for stdout'
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing --json file")


def run(args: argparse.Namespace) -> None:
    """Read the scans, compare them and print the metrics."""
    paths = {"reference": args.reference, "output": args.test, "input": args.low}
    series = {"reference": args.reference_series, "output": args.test_series, "input": args.low_series}
    phase = {"reference": args.reference_phase, "output": args.test_phase, "input": args.low_phase}
    volumes = {role: _read(path, role, series[role], phase[role]) for role, path in paths.items() if path}
    read = (source for volume in volumes.values() for source in volume.sources)
    check_text_places((args.json,), *read, overwrite=args.overwrite)
    metrics = evaluate(**volumes, organs=_source(args))
    for role, volume in volumes.items():
        print_warnings(f"{SAID[role]}: {warning}" for warning in volume.warnings if warning != DENOISED_BEFORE)
    if args.json == "-":
        print_json(metrics)
        return
    print(f"reference {Path(args.reference).name}")
    print(table({title: metrics[role] for role, title in titles(args.test, args.low).items()}))
    write_text(args.json, as_json(metrics))


def _source(args: argparse.Namespace) -> AnatomySource | None:
    from bioatt.compute.device import choose, tune_cpu
    from bioatt.priors.anatomy import build_anatomy

    if args.organs is None:
        return None
    tune_cpu()
    return build_anatomy(args.organs, str(choose(args.device).device))


def _read(path: str, role: str, series: str | None, phase: str | None) -> Volume:
    from bioatt.core.errors import InputError, SeveralVolumesError
    from bioatt.io.images import read_volume

    try:
        return read_volume(path, series=series, phase=phase)
    except SeveralVolumesError as error:
        raise InputError(str(error).replace("--phase", f"{CHOICES[SAID[role]]}phase")) from None


def titles(test: str, low: str | None) -> dict[str, str]:
    """Column titles by role: the file names, prefixed by the role if they are equal."""
    names = {role: Path(path).name for role, path in (("input", low), ("output", test)) if path}
    alike = len(set(names.values())) < len(names)
    return {role: f"{SAID[role]} {name}" for role, name in names.items()} if alike else names


def evaluate(
    reference: Volume, output: Volume, input: Volume | None = None, organs: AnatomySource | None = None
) -> dict[str, Any]:
    """Compare scans with a reference on axial slices, with padding as air.

    organs: source that segments each scan; adds "dice", see `anatomy.overlap.dice_by_organ`.
    Returns {"input": `metrics.compare` of the low-dose CT, "output": that of the CT to evaluate}.
    Raises InputError if the grids differ.
    """
    from bioatt.core.canonical import canonical
    from bioatt.core.metrics import compare
    from bioatt.io.grids import check_same_grid

    scans = {"input": input, "output": output}
    given = {role: scan for role, scan in scans.items() if scan is not None}
    for scan in given.values():
        check_same_grid(reference, scan)
    truth = canonical(reference).volume.hu
    results = {role: compare(truth, canonical(scan).volume.hu) for role, scan in given.items()}
    if organs is None:
        return results
    from bioatt.anatomy.overlap import dice_by_organ

    expected = _labels(organs, reference)
    return {role: {**results[role], "dice": dice_by_organ(expected, _labels(organs, given[role]))} for role in given}


def _labels(source: AnatomySource, scan: Volume) -> NDArray[np.uint8]:
    from bioatt.anatomy.sources import label_volume, organs_of
    from bioatt.core.canonical import canonical

    volume = canonical(scan).volume
    return label_volume(organs_of(source, volume, scan), volume)


def table(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """Format `metrics.compare` results as a text table by column title; two columns add their difference."""
    titles = [*columns]
    results = [*columns.values()]
    rows: list[tuple[str, list[float | None], str]] = []
    for window, first in results[0]["windows"].items():
        low, high = first["window_hu"]
        head = f"{window} [{low:g}, {high:g}] HU, range {first['data_range_hu']:g}"
        for key, label, digits in (
            ("rmse_hu", "RMSE, HU", ".2f"),
            ("psnr_db", "PSNR, dB", ".2f"),
            ("ssim", "SSIM", ".4f"),
        ):
            rows.append((f"{head:42s} {label}", [r["windows"][window][key] for r in results], digits))
            head = ""
    for tissue in sorted({tissue for r in results for tissue in r["hu_bias"]}):
        rows.append(
            (f"{'bias against the reference, ' + tissue:42s} HU", [r["hu_bias"].get(tissue) for r in results], "+.2f")
        )
    rows.append((f"{'noise in soft tissue (mode of local SD)':42s} HU", [r["noise_hu"] for r in results], ".2f"))
    for organ in results[0].get("dice", {}):
        rows.append((f"{'Dice against the reference, ' + organ:52s}", [r["dice"].get(organ) for r in results], ".3f"))
    width = max(10, *(len(title) for title in titles)) + 2
    lines = [" " * 52 + "".join(f"{title:>{width}s}" for title in [*titles, *["change"] * (len(titles) == 2)])]
    for label, values, digits in rows:
        cells = ["-" if value is None else format(value, digits) for value in values]
        if len(values) == 2:
            before, after = values
            cells.append("" if before is None or after is None else format(after - before, "+" + digits.lstrip("+")))
        lines.append(f"{label:52s}" + "".join(f"{cell:>{width}s}" for cell in cells))
    return "\n".join(lines)


def as_json(metrics: Mapping[str, Any]) -> str:
    """Return metrics as the text of a JSON file."""
    return json.dumps(metrics, indent=1) + "\n"
