"""`bioatt denoise`: a CT in, the denoised CT out."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from bioatt.strength import DEFAULT_STRENGTH

if TYPE_CHECKING:
    from bioatt.denoiser import Denoiser, Progress, Result
    from bioatt.volume import Volume

HELP = "denoise a CT volume or DICOM folder"
PRIOR_SOURCES = (
    "embedded | biomedclip[:FOLDER] | uniform | random[:SEED] | segmentation:LABELS[,TABLE.json] | FILE.json"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bioatt denoise`."""
    add_input_arguments(parser)
    parser.add_argument("output", metavar="OUT", help=".nrrd, .nii.gz, .mha, or a folder for a derived DICOM series")
    add_engine_arguments(parser)
    parser.add_argument(
        "--strength",
        type=float,
        default=DEFAULT_STRENGTH,
        help=f"share of the network's change to apply, 0 to 1 (default {DEFAULT_STRENGTH:g})",
    )
    parser.add_argument(
        "--slices", metavar="A:B", help="denoise and write only slices A to B-1, counted from 0 as IN stores them"
    )
    parser.add_argument("--attention", metavar="DIR", help="also write the unified attention maps there")
    parser.add_argument("--report", metavar="FILE.json", help="write versions, model hash, prior, noise and timings")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace OUT, the report and the maps where they are there"
    )


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """The scan to work on, shared by every command that reads one."""
    parser.add_argument("input", metavar="IN", help=".nrrd, .nii.gz, .mha or a DICOM folder")
    parser.add_argument("--series", metavar="N", help="SeriesNumber or UID, where a DICOM folder holds several")


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that choose the model, the prior and the device, shared by every command that runs the network."""
    parser.add_argument("--model", default="auto", help="model name or .safetensors file (default: by device)")
    parser.add_argument(
        "--prior",
        default="embedded",
        metavar="SOURCE",
        help=f"{PRIOR_SOURCES} (default embedded)",
    )
    parser.add_argument(
        "--descriptors",
        metavar="FILE.json",
        help="your own descriptor set for the prior; it must name all of the model's descriptors",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default auto)")
    parser.add_argument(
        "--precision", default="auto", help="auto, fp32, bf16, fp16 (default auto: fp32, on AMX and GPUs half)"
    )
    parser.add_argument("--tile", type=int, metavar="PX", help="run slices in tiles of this size (small GPUs)")


def chosen_denoiser(args: argparse.Namespace) -> Denoiser:
    """What `add_engine_arguments` asked for."""
    from bioatt.assembly import make_denoiser

    return make_denoiser(
        args.model,
        prior=args.prior,
        descriptors=args.descriptors,
        device=args.device,
        precision=args.precision,
        tile=args.tile,
    )


def engine_files(args: argparse.Namespace) -> list[Path]:
    """The files that the options of `add_engine_arguments` name."""
    return [file for option in (args.model, args.prior, args.descriptors or "") for file in files_named(option)]


def files_named(option: str) -> list[Path]:
    """The files that an option names, alone or as `KIND:FILE,FILE`."""
    parts = dict.fromkeys((option, *re.split("[:,]", option)))
    return [path for path in map(Path, parts) if path.is_file()]


def run(args: argparse.Namespace) -> None:
    """Read, denoise, write; the output appears whole or not at all."""
    from bioatt.attention import AttentionRequest
    from bioatt.commands.attention import check_maps_folder, write_maps
    from bioatt.device import tune_cpu
    from bioatt.files import deliver
    from bioatt.outputs import check_file_place, check_result_output, write_result
    from bioatt.report import provenance, write_report
    from bioatt.volume import read_volume

    tune_cpu()
    volume = read_volume(args.input, series=args.series)
    slices = parse_slices(args.slices, volume)
    check_result_output(volume, Path(args.output), read=engine_files(args), overwrite=args.overwrite)
    if args.attention:
        check_maps_folder(volume, Path(args.attention), Path(args.output), overwrite=args.overwrite)
    if args.report:
        others = (*volume.sources, Path(args.output), *engine_files(args))
        check_file_place(Path(args.report), *others, overwrite=args.overwrite)
    denoiser = chosen_denoiser(args)
    made_of = provenance(denoiser, prior=args.prior, descriptors=args.descriptors) if args.report else None
    attention = AttentionRequest(descriptors=()) if args.attention else None
    result = with_progress(
        lambda progress: denoiser.denoise(
            volume, strength=args.strength, slices=slices, attention=attention, progress=progress
        ),
        "denoising",
    )
    written = write_result(result, Path(args.output), overwrite=args.overwrite)  # first: maps can be made again
    told = [*result.warnings, *written.warnings]
    if args.report:

        def report(place: Path) -> None:
            write_report(result, place, made_of, overwrite=args.overwrite)

        told += deliver(Path(args.report), report, overwrite=args.overwrite).warnings
    if args.attention:
        write_maps(result.attention, Path(args.attention), overwrite=args.overwrite)
    print_summary(result, str(written.place), told)


def parse_slices(text: str | None, volume: Volume) -> range | None:
    """ "A:B" → range; either end may be missing. Raises InputError for anything else or an empty range."""
    from bioatt.errors import InputError

    if text is None:
        return None
    first, colon, last = text.partition(":")
    try:
        chosen = range(int(first or 0), int(last or volume.shape[0]))
    except ValueError:
        chosen = range(0)
    if not colon or not chosen or chosen.start < 0 or chosen.stop > volume.shape[0]:
        raise InputError(f"--slices {text}: give A:B with 0 <= A < B <= {volume.shape[0]}")
    return chosen


def with_progress(work: Callable[[Progress], Result], what: str) -> Result:
    """Run work(progress) behind a progress bar on stderr with the time left."""
    from tqdm import tqdm

    with tqdm(total=0, desc=what, unit="slice", leave=False, disable=None) as bar:

        def progress(fraction: float, done: int, total: int, eta_s: float | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return work(progress)


def print_warnings(warnings: Iterable[str]) -> None:
    """One line each on stderr."""
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def print_summary(result: Result, output: str, warnings: Iterable[str]) -> None:
    """What a user wants to know at a glance; warnings go to stderr."""
    from bioatt.denoiser import median

    print_warnings(warnings)
    before, after = median(result.noise_before), median(result.noise_after)
    slices = result.volume.shape[0]
    print(
        f"{output}: {slices} slice{'s' * (slices != 1)} in {result.seconds:.1f} s on {result.device} "
        f"({result.precision}), model {result.model.name}, "
        f"prior {result.prior.source if result.prior else 'none'}, strength {result.strength:g}"
    )
    if before > 0 and after >= 0:
        print(f"soft-tissue noise (9x9 px) {before:.1f} -> {after:.1f} HU ({100 * (after / before - 1):+.0f} %)")
    print("Research use only: not a medical device.")
