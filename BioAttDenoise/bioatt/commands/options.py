"""Options that several commands share."""

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
    """The scan to work on, shared by every command that reads one."""
    parser.add_argument("input", metavar="IN", help=".nrrd, .nii.gz, .mha or a DICOM folder")
    add_choice_arguments(parser)


def add_choice_arguments(parser: argparse.ArgumentParser) -> None:
    """Which scan of several in one folder or file."""
    parser.add_argument("--series", metavar="N", help="SeriesNumber or UID, where a DICOM folder holds several")
    phase = "which of several volumes in one series or file: its number, or what tells it apart (denoise: or all)"
    parser.add_argument("--phase", metavar="N", help=phase)


def read_before_and_after(before: str, after: str | None, args: argparse.Namespace) -> tuple[Volume, Volume | None]:
    """The scan that `add_choice_arguments` chooses, and the denoised one where it is given. Raises InputError where
    their grids differ."""
    from bioatt.io.grids import check_same_grid
    from bioatt.io.images import read_volume

    scan = read_volume(before, series=args.series, phase=args.phase)
    if after is None:
        return scan, None
    denoised = read_volume(after)
    check_same_grid(scan, denoised)
    return scan, denoised


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that choose the model, the prior and the device, shared by every command that runs the network."""
    parser.add_argument("--model", default="auto", help="model name or .safetensors file (default: by device)")
    parser.add_argument(
        "--prior",
        default="auto",
        metavar="SOURCE",
        help=f"{PRIOR_SOURCES} (default auto: the one that the model was trained with)",
    )
    parser.add_argument(
        "--descriptors",
        metavar="FILE.json",
        help="your own descriptor set for the prior; it must contain the model's descriptors",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps or xpu (default auto)")
    parser.add_argument(
        "--precision", default="auto", help="auto, fp32, bf16, fp16 (default auto: the fastest that is exact enough)"
    )
    parser.add_argument(
        "--backend", default="auto", help="auto, torch or openvino (default auto: what is fastest on this machine)"
    )
    parser.add_argument("--tile", type=int, metavar="PX", help="run slices in tiles of this size (small GPUs)")


def add_strength_arguments(parser: argparse.ArgumentParser) -> None:
    """How much noise to remove."""
    group = parser.add_mutually_exclusive_group()
    shares = ", ".join(f"{name} {100 * share:.0f} %%" for name, share in LEVELS.items())
    group.add_argument(
        "--strength",
        default=str(DEFAULT_STRENGTH),
        metavar="S",
        help=f"share of the network's change to apply, 0 to 1 (default {DEFAULT_STRENGTH:g}), or how much of this "
        f"scan's noise to remove: {shares}",
    )
    group.add_argument("--target-noise", type=float, metavar="HU", help="noise in soft tissue that is to remain")


def chosen_strength(args: argparse.Namespace) -> Strength:
    """The values of `add_strength_arguments`. Raises InputError where they are none."""
    return parse_strength(args.strength) if args.target_noise is None else TargetNoise(args.target_noise)


def add_anatomy_arguments(parser: argparse.ArgumentParser) -> None:
    """Where organs are known from, shared by the commands that tell them apart."""
    parser.add_argument(
        "--segmentation",
        metavar="LABELS[,TABLE.json]",
        help="organs from a label volume, as .seg.nrrd or TotalSegmentator's, instead of the organ maps",
    )


def anatomy_source(args: argparse.Namespace) -> str:
    """The source for `priors.anatomy.build_anatomy` that the options name."""
    return f"segmentation:{args.segmentation}" if args.segmentation else "maps"


def engine_options(args: argparse.Namespace) -> EngineOptions:
    """The values of `add_engine_arguments`."""
    return EngineOptions(**{field.name: getattr(args, field.name) for field in fields(EngineOptions)})


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
