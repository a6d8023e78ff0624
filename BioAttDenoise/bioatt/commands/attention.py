"""`bioatt attention`: export the network's attention maps as volumes on the scan's grid."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bioatt.commands.console import print_json, print_warnings, with_progress
from bioatt.commands.options import add_engine_arguments, add_input_arguments, engine_options, parse_slices
from bioatt.core.attention_views import VIEWS

if TYPE_CHECKING:
    from bioatt.core.volume import Volume
    from bioatt.network import Stage

HELP = "write attention maps on the scan's grid (0 to 1; learned weights, not organ outlines)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `bioatt attention`."""
    add_input_arguments(parser)
    parser.add_argument("folder", metavar="DIR", help="output folder for the STAGE_ORGAN.nrrd files")
    add_engine_arguments(parser)
    parser.add_argument(
        "--stage", choices=("middle", "last", "both"), default="both", help="attention stage (default both)"
    )
    parser.add_argument("--organs", metavar="A,B", help="names of the descriptors to record (default all)")
    parser.add_argument(
        "--view",
        choices=VIEWS,
        default="raw",
        help="raw: A, uint8 (default); contrast: deviation of an organ's map from the mean over organs, -1 to 1; "
        "contribution: p times A, the organ's share of the unified map (float32)",
    )
    parser.add_argument("--slices", metavar="A:B", help="only slices A to B-1, counted from 0 in stored order")
    parser.add_argument("--overwrite", action="store_true", help="replace existing maps in DIR")
    parser.add_argument("--json", action="store_true", help="print the run's manifest and the map names as JSON")


def run(args: argparse.Namespace) -> None:
    """Denoise while recording attention, and write the maps."""
    from bioatt.compute.device import tune_cpu
    from bioatt.inference.assembly import make_denoiser
    from bioatt.inference.attention import AttentionRequest, viewed
    from bioatt.inference.report import run_manifest
    from bioatt.io.images import read_volume
    from bioatt.network import STAGES

    tune_cpu()
    volume = read_volume(args.input, series=args.series, phase=args.phase)
    check_maps_folder(volume, Path(args.folder), overwrite=args.overwrite)
    denoiser = make_denoiser(engine_options(args))
    request = AttentionRequest(
        stages=STAGES if args.stage == "both" else (args.stage,),
        descriptors=tuple(name.strip() for name in args.organs.split(",")) if args.organs else None,
    )
    slices = parse_slices(args.slices, volume)
    result = with_progress(
        lambda progress: denoiser.denoise(volume, slices=slices, attention=request, progress=progress), "attention"
    )
    print_warnings(result.warnings)
    maps = result.attention
    if args.view != "raw":
        assert result.prior is not None  # a model without one has no maps
        maps = viewed(maps, args.view, result.prior)
    write_maps(maps, Path(args.folder), overwrite=args.overwrite)
    stored = "stored as uint8; attention = value / 255" if args.view == "raw" else f"{args.view}, stored as float32"
    if args.json:
        names = [map_name(stage, name) for stage, name in maps]
        print_json({**run_manifest(result, volume.sources), "output": args.folder, "maps": names, "stored": stored})
    else:
        print(f"{args.folder}: {len(maps)} maps, {stored}")


def check_maps_folder(volume: Volume, folder: Path, output: Path | None = None, *, overwrite: bool) -> None:
    """Check before denoising that a volume's maps can be written to `folder`.

    Raises InputError if they cannot, or if `folder` is also the `output`.
    overwrite: whether existing volumes in the folder may be replaced.
    """
    from bioatt.core.errors import InputError
    from bioatt.io.files import check_folder, same_file

    if output is not None and same_file(folder, output):
        raise InputError(f"{folder.name} is the output itself: name another folder for the attention maps")
    if not volume.even:
        raise InputError(
            "slices are missing or unevenly spaced, which attention maps (.nrrd) cannot represent: "
            "complete the series, or do not write the maps"
        )
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder.name} is a file: name a folder for the attention maps")
    check_folder(folder if folder.is_dir() else folder.absolute().parent)
    if not overwrite and any(folder.glob("*.nrrd")):
        raise InputError(f"{folder.name} already contains .nrrd files: name another folder, or use --overwrite")


def write_maps(maps: Mapping[tuple[Stage, str], Volume], folder: Path, *, overwrite: bool = True) -> None:
    """Write each map as STAGE_ORGAN.nrrd. Raises InputError if a file exists and may not be replaced."""
    from bioatt.io.images import write_volume

    folder.mkdir(exist_ok=True)
    for (stage, name), volume in maps.items():
        write_volume(volume, folder / map_name(stage, name), overwrite=overwrite)


def map_name(stage: Stage, name: str) -> str:
    """Return the file name of a map."""
    return f"{stage}_{name.replace(' ', '_')}.nrrd"
