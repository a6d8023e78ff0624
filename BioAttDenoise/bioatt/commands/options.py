"""Options that several commands share, and what they choose."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bioatt.core.volume import Volume
    from bioatt.inference.denoiser import Denoiser

PRIOR_SOURCES = (
    "embedded | biomedclip[:FOLDER] | uniform | random[:SEED] | segmentation:LABELS[,TABLE.json] | FILE.json"
)


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """The scan to work on, shared by every command that reads one."""
    parser.add_argument("input", metavar="IN", help=".nrrd, .nii.gz, .mha or a DICOM folder")
    parser.add_argument("--series", metavar="N", help="SeriesNumber or UID, where a DICOM folder holds several")
    phase = "which of several volumes in one series or file: its number, or what tells it apart (denoise: or all)"
    parser.add_argument("--phase", metavar="N", help=phase)


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
    from bioatt.inference.assembly import make_denoiser

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
    from bioatt.io.files import files_named

    return [file for option in (args.model, args.prior, args.descriptors or "") for file in files_named(option)]


def parse_slices(text: str | None, volume: Volume) -> range | None:
    """ "A:B" → range; either end may be missing. Raises InputError for anything else or an empty range."""
    from bioatt.core.errors import InputError

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
