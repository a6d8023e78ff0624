"""`bioatt organs`: find organs and measure their noise before and after denoising, as a table and a segmentation."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from bioatt.commands.console import check_text_places, print_warnings, write_text
from bioatt.commands.options import (
    add_anatomy_arguments,
    add_input_arguments,
    anatomy_source,
    read_before_and_after,
)

if TYPE_CHECKING:
    from bioatt.anatomy.organs import Organs
    from bioatt.core.volume import Volume

HELP = "measure organs: volume, HU, noise and contrast, before and after denoising; write them as a segmentation"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `bioatt organs`."""
    add_input_arguments(parser)
    parser.add_argument(
        "output", metavar="OUT", nargs="?", help=".seg.nrrd (a segmentation for Slicer) or .dcm (DICOM SEG)"
    )
    parser.add_argument("--denoised", metavar="AFTER", help="denoised scan to compare, on the same grid")
    add_anatomy_arguments(parser)
    parser.add_argument(
        "--reference",
        default="muscle",
        metavar="ORGAN",
        help="reference tissue for contrast (default muscle, next to the spine)",
    )
    parser.add_argument("--device", default="auto", help="auto | cpu | cuda | cuda:N | mps")
    parser.add_argument("--json", metavar="FILE", help="write the table as JSON; - for standard output")
    parser.add_argument("--csv", metavar="FILE", help="write the table as CSV; - for standard output")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")


def run(args: argparse.Namespace) -> None:
    """Find and measure the organs, then write and print the results."""
    from bioatt.anatomy.organs import find_organs
    from bioatt.anatomy.table import as_csv, as_text
    from bioatt.compute.device import choose, tune_cpu
    from bioatt.priors.anatomy import build_anatomy

    scan, after = read_before_and_after(args.input, args.denoised, args)
    _check_places(args, scan, after)
    print_warnings(scan.warnings)
    tune_cpu()
    source = build_anatomy(anatomy_source(args), str(choose(args.device).device))
    organs = find_organs(scan, source, after=after, reference=args.reference)
    if args.output:
        _write(organs, scan, Path(args.output), overwrite=args.overwrite)
    table = organs.table
    texts = {args.json: json.dumps(table, indent=1) + "\n", args.csv: as_csv(table)}
    for place, text in texts.items():
        write_text(place, text)
    if "-" not in texts:
        print(as_text(table))
    print_warnings(table["warnings"])


def _check_places(args: argparse.Namespace, scan: Volume, after: Volume | None) -> None:
    """Raise InputError, before the work, if an output cannot be written or would replace an input."""
    from bioatt.core.errors import InputError
    from bioatt.io.dicom.seg import SUFFIX as DICOM
    from bioatt.io.dicom.seg import check_segmentation_output
    from bioatt.io.files import files_named
    from bioatt.io.images import check_output
    from bioatt.io.outputs import check_file_place
    from bioatt.io.seg_nrrd import SUFFIX as NRRD

    read = [*scan.sources, *(() if after is None else after.sources), *files_named(anatomy_source(args))]
    if args.json == args.csv == "-":
        raise InputError("--json and --csv cannot both go to standard output: name a file for one")
    if args.output:
        output = Path(args.output)
        if not output.name.endswith((NRRD, DICOM)):
            raise InputError(f"{output.name} is not a segmentation format: name the output .seg.nrrd or .dcm")
        check_file_place(output, *read, overwrite=args.overwrite)
        if output.name.endswith(NRRD):
            check_output(scan, output)
        else:
            check_segmentation_output(scan, output)
        read.append(output)
    check_text_places((args.json, args.csv), *read, overwrite=args.overwrite)


def _write(organs: Organs, scan: Volume, output: Path, *, overwrite: bool) -> None:
    import bioatt
    from bioatt.core.provenance import ORGANS
    from bioatt.io.dicom.seg import SUFFIX, write_dicom_segmentation
    from bioatt.io.seg_nrrd import write_segmentation

    source = organs.probabilities.source
    if output.name.endswith(SUFFIX):
        write_dicom_segmentation(
            organs.labels,
            organs.segments,
            scan,
            output,
            algorithm=f"BioAttDenoise {source}",
            version=bioatt.__version__,
            automatic=source == "organ maps",
            overwrite=overwrite,
        )
    else:
        note = f"{ORGANS} from {source}: research use only"
        write_segmentation(organs.labels, organs.segments, scan, output, note=note, overwrite=overwrite)
