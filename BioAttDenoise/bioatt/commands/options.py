"""Options shared by several commands."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import TYPE_CHECKING

from bioatt.core.strength import DEFAULT_STRENGTH, LEVELS, Strength, TargetNoise, parse_strength
from bioatt.inference.options import EngineOptions

if TYPE_CHECKING:
    from bioatt.core.volume import Volume

PRIOR_SOURCES = (
    "maps[:spatial] | biomedclip[:FOLDER] | uniform | random[:SEED] | segmentation:LABELS[,TABLE.json] | FILE.json"
)


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the input scan, for commands that read one."""
    parser.add_argument("input", metavar="IN", help=".nrrd, .nii.gz, .mha or a DICOM folder")
    add_choice_arguments(parser)


def add_choice_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose one of several scans in a folder or file."""
    parser.add_argument("--series", metavar="N", help="SeriesNumber or UID, if a DICOM folder holds several series")
    phase = "volume, if one series or file holds several: its number or label, or all (denoise only)"
    parser.add_argument("--phase", metavar="N", help=phase)


def read_before_and_after(before: str, after: str | None, args: argparse.Namespace) -> tuple[Volume, Volume | None]:
    """Read the scan that `add_choice_arguments` chooses, and the denoised one if given.

    Raises InputError if their grids differ.
    """
    from bioatt.io.grids import check_same_grid
    from bioatt.io.images import read_volume

    scan = read_volume(before, series=args.series, phase=args.phase)
    if after is None:
        return scan, None
    denoised = read_volume(after)
    check_same_grid(scan, denoised)
    return scan, denoised


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for model, prior and device, for commands that run the network."""
    parser.add_argument(
        "--model", default="auto", help="model name or .safetensors file (default: depends on the device)"
    )
    parser.add_argument(
        "--prior",
        default="auto",
        metavar="SOURCE",
        help=f"{PRIOR_SOURCES} (default auto: the one the model was trained with)",
    )
    parser.add_argument(
        "--descriptors",
        metavar="FILE.json",
        help="your own descriptor set for the prior; it must contain the model's descriptors",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps or xpu (default auto)")
    parser.add_argument(
        "--precision", default="auto", help="auto, fp32, bf16, fp16 (default auto: the fastest accurate enough)"
    )
    parser.add_argument(
        "--backend", default="auto", help="auto, torch or openvino (default auto: the fastest on this machine)"
    )
    parser.add_argument("--tile", type=int, metavar="PX", help="process slices in tiles of this size (small GPUs)")


def add_strength_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for how much noise to remove."""
    group = parser.add_mutually_exclusive_group()
    shares = ", ".join(f"{name} {100 * share:.0f} %%" for name, share in LEVELS.items())
    group.add_argument(
        "--strength",
        default=str(DEFAULT_STRENGTH),
        metavar="S",
        help=f"fraction of the network's change to apply, 0 to 1 (default {DEFAULT_STRENGTH:g}), or the share of this "
        f"scan's noise to remove: {shares}",
    )
    group.add_argument("--target-noise", type=float, metavar="HU", help="noise to leave in soft tissue")


def chosen_strength(args: argparse.Namespace) -> Strength:
    """The strength that the options of `add_strength_arguments` give. Raises InputError if it is invalid."""
    return parse_strength(args.strength) if args.target_noise is None else TargetNoise(args.target_noise)


def add_anatomy_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the source of the organs, for commands that distinguish them."""
    parser.add_argument(
        "--segmentation",
        metavar="LABELS[,TABLE.json]",
        help="organs from a label volume (.seg.nrrd or TotalSegmentator output) instead of the organ maps",
    )


def anatomy_source(args: argparse.Namespace) -> str:
    """The source that the options name, for `priors.anatomy.build_anatomy`."""
    return f"segmentation:{args.segmentation}" if args.segmentation else "maps"


def engine_options(args: argparse.Namespace) -> EngineOptions:
    """The values of `add_engine_arguments`."""
    return EngineOptions(**{field.name: getattr(args, field.name) for field in fields(EngineOptions)})


def parse_slices(text: str | None, volume: Volume) -> range | None:
    """Parse "A:B" into a range; either end may be missing. Raises InputError for anything else or an empty range."""
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
