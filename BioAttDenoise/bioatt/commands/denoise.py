"""`bioatt denoise`: denoise one CT scan."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bioatt.commands.console import print_json, print_summary, print_warnings, with_progress
from bioatt.commands.options import (
    add_anatomy_arguments,
    add_engine_arguments,
    add_input_arguments,
    add_strength_arguments,
    anatomy_source,
    chosen_strength,
    engine_options,
    parse_slices,
)

if TYPE_CHECKING:
    from bioatt.core.volume import Volume

HELP = "denoise a CT volume or DICOM folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `bioatt denoise`."""
    add_input_arguments(parser)
    parser.add_argument("output", metavar="OUT", help=".nrrd, .nii.gz, .mha, or a folder for a derived DICOM series")
    add_engine_arguments(parser)
    add_strength_arguments(parser)
    parser.add_argument(
        "--organ-strength",
        metavar="ORGAN=S,...",
        help="strength by organ, e.g. lungs=0.5,liver=1, blended at organ borders",
    )
    add_anatomy_arguments(parser)
    parser.add_argument(
        "--slices", metavar="A:B", help="denoise and write only slices A to B-1, counted from 0 in stored order"
    )
    parser.add_argument(
        "--resample",
        action="store_true",
        help="resample slices of a tilted gantry onto a right-angled grid, for formats without shear (NIfTI)",
    )
    parser.add_argument("--attention", metavar="DIR", help="also write the unified attention maps to DIR")
    parser.add_argument("--report", metavar="FILE.json", help="write versions, model hash, prior, noise and timings")
    parser.add_argument("--json", action="store_true", help="print the run's manifest as JSON, one line per volume")
    parser.add_argument("--overwrite", action="store_true", help="replace existing output, report and maps")


def run(args: argparse.Namespace) -> None:
    """Read, denoise and write; the output is atomic. `--phase all` writes the volumes as OUT-1, OUT-2, ..."""
    from bioatt.io.images import read_volume
    from bioatt.io.phases import each_volume, numbered

    if args.phase != "all":
        _run(args, read_volume(args.input, series=args.series, phase=args.phase))
        return
    for number, (name, volume) in enumerate(each_volume(args.input, series=args.series), start=1):
        given = {key: getattr(args, key) for key in ("output", "report", "attention")}
        if name:
            print(f"phase {number}: {name}", file=sys.stderr if args.json else sys.stdout)
            given = {key: place and str(numbered(Path(place), number)) for key, place in given.items()}
        _run(argparse.Namespace(**{**vars(args), **given}), volume)


def _run(args: argparse.Namespace, volume: Volume) -> None:
    from bioatt.anatomy.strength import parse_organ_strength
    from bioatt.commands.attention import check_maps_folder, write_maps
    from bioatt.compute.device import tune_cpu
    from bioatt.core.canonical import upright
    from bioatt.core.errors import InputError
    from bioatt.inference.assembly import make_denoiser
    from bioatt.inference.attention import AttentionRequest
    from bioatt.inference.report import provenance, run_manifest, write_report
    from bioatt.io.files import files_named, is_series
    from bioatt.io.outputs import check_file_place, check_result_output, write_result

    tune_cpu()
    options, strength, output = engine_options(args), chosen_strength(args), Path(args.output)
    by_organ = parse_organ_strength(args.organ_strength) if args.organ_strength else {}
    read = [*options.files(), *files_named(anatomy_source(args))]
    slices = parse_slices(args.slices, volume)
    if args.resample and (not volume.even or is_series(output)):
        raise InputError("--resample writes evenly spaced slices to a file: name the output .nii.gz, .nrrd or .mha")
    planned = upright(volume) if args.resample else volume
    check_result_output(planned, output, read=read, overwrite=args.overwrite)
    if args.attention:
        check_maps_folder(volume, Path(args.attention), output, overwrite=args.overwrite)
    if args.report:
        others = (*volume.sources, output, *read)
        check_file_place(Path(args.report), *others, overwrite=args.overwrite)
    denoiser = make_denoiser(options)
    prior_provenance = provenance(denoiser, options) if args.report else None
    attention = AttentionRequest(descriptors=()) if args.attention else None
    result = with_progress(
        lambda progress: denoiser.denoise(
            volume,
            strength=strength,
            organ_strength=by_organ,
            anatomy=anatomy_source(args),
            slices=slices,
            attention=attention,
            progress=progress,
        ),
        "denoising",
    )
    warnings = write_result(  # before the maps, which can be computed again
        upright(result.volume) if args.resample else result.volume,
        output,
        model_name=result.model.name,
        model_version=result.model.version,
        strength=result.strength,
        strength_asked=result.strength_asked,
        organ_strength=result.organ_strength,
        overwrite=args.overwrite,
    )
    if args.report:
        write_report(result, Path(args.report), prior_provenance, overwrite=args.overwrite)
    if args.attention:
        try:
            write_maps(result.attention, Path(args.attention), overwrite=args.overwrite)
        except InputError as error:
            raise InputError(
                f"{output.name} was written, but its attention maps were not: {error}; "
                f"write the maps with bioatt attention IN {args.attention} --overwrite"
            ) from None
    warnings = (*result.warnings, *warnings)
    if args.json:
        print_warnings(warnings)
        print_json({**run_manifest(result, volume.sources), "output": args.output, "warnings": [*warnings]})
    else:
        print_summary(result, args.output, warnings)
