"""`bioatt prior IN`: show the anatomical prior of each slice as a table, JSON or plot."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bioatt.commands.console import check_text_places, print_warnings, write_text
from bioatt.commands.options import PRIOR_SOURCES, add_input_arguments
from bioatt.io.files import files_named

HELP = "show the anatomical prior of each slice"
PICTURES = (".png", ".pdf", ".svg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `bioatt prior`."""
    add_input_arguments(parser)
    parser.add_argument("--source", default="maps", help=f"{PRIOR_SOURCES} (default maps)")
    parser.add_argument(
        "--descriptors", default="paper17", metavar="SET", help="paper17 | authors11 | your own FILE.json"
    )
    parser.add_argument("--device", default="cpu", help="auto | cpu | cuda | cuda:N | mps")
    parser.add_argument("--no-smoothing", action="store_true", help="do not smooth along z")
    parser.add_argument("--json", metavar="FILE", help="write the table as JSON, which --source accepts; - for stdout")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="write a stacked plot over z: .png, .pdf or .svg")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")


def run(args: argparse.Namespace) -> None:
    """Compute the prior of the axial slices from feet to head; print a table unless a file is requested."""
    from bioatt.anatomy.descriptors import load_descriptor_set
    from bioatt.compute.device import choose
    from bioatt.core.canonical import canonical
    from bioatt.core.errors import InputError
    from bioatt.io.images import read_volume
    from bioatt.priors import build_prior

    if args.plot is not None and args.plot.suffix.lower() not in PICTURES:
        raise InputError(f"{args.plot.name}: name the plot {', '.join(PICTURES[:-1])} or {PICTURES[-1]}")
    scan = read_volume(args.input, series=args.series, phase=args.phase)
    print_warnings(scan.warnings)
    read = (*scan.sources, *files_named(args.source), *files_named(args.descriptors))
    check_text_places((args.json, args.plot), *read, overwrite=args.overwrite)
    source = build_prior(
        args.source,
        descriptors=load_descriptor_set(args.descriptors),
        device=str(choose(args.device).device),
        smoothing=not args.no_smoothing,
    )
    volume = canonical(scan).volume
    if scan.axial and volume.slice_ids[0] != scan.slice_ids[0]:
        print_warnings(["this table counts slices from the feet, but --slices counts them as stored, from the head"])
    prior = source.probabilities(volume)
    table = prior.as_table()
    write_text(args.json, json.dumps(table) + "\n")
    if args.plot is not None:
        from bioatt.priors.plot import plot_prior

        plot_prior(prior, volume.spacing[2], args.plot, f"{Path(args.input).name}: {prior.source}")
    if args.json is None and args.plot is None:
        for number, row in enumerate(table["probabilities"]):
            ranked = sorted(zip(row, table["descriptors"], strict=True), reverse=True)
            shown = ", ".join(f"{name} {share:.2f}" for share, name in ranked if share >= 0.05) or "no dominant organ"
            place = f"{number * volume.spacing[2]:7.1f} mm" if volume.even else f"{'-':>7s}   "
            print(f"{number:4d}  {place}  {shown}")
