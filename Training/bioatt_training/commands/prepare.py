"""`bioatt-train prepare`: convert scans, paired or single, to a bank for `fit`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bioatt.simulation.tomography import Kernel

HELP = "create a bank for `fit` from folders of scans: Mayo 2016, LDCT-and-Projection-data, pairs, or single scans"
RESUMES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bioatt-train prepare`."""
    parser.add_argument("data", metavar="DIR", help="folder of scans; the layout is detected")
    parser.add_argument("out", metavar="OUT", nargs="?", help="output folder for the bank")
    parser.add_argument(
        "--list", action="store_true", help="list what would be used and what would be left out, then stop"
    )
    parser.add_argument(
        "--split",
        default="patients",
        metavar="FILE.json|patients|slices",
        help="training, validation and test split: a file, random patients (default), or the paper's slice order",
    )
    parser.add_argument(
        "--patients", metavar="FILE.csv", help="CSV with columns file and patient that assigns scans to patients"
    )
    parser.add_argument("--dose", type=float, help="dose fraction of the low-dose scans in pairs (default 0.25)")
    parser.add_argument("--most-slices", type=int, default=1_000_000, metavar="N", help="slices per scan")
    parser.add_argument(
        "--target",
        default="scan",
        metavar="scan|softened[:KERNEL]",
        help="training target: the scan (default), or the scan as reconstructed with a softer kernel (B10)",
    )
    parser.add_argument("--prior", default="maps", help="source of the priors (default maps)")
    parser.add_argument("--fast", action="store_true", help="compute noise from half the views")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--pack",
        metavar="FILE.npz",
        help="also write a data pack of the bank OUT for GPU training (Testing/gpu); DIR may be that bank",
    )
    parser.add_argument(
        "--pack-mib", type=float, default=20.0, metavar="N", help="maximum size of the pack (default 20 MiB)"
    )


def run(args: argparse.Namespace) -> None:
    """Find, check and write; report everything left out on stderr."""
    from dataclasses import replace

    from bioatt.core.errors import InputError

    if args.pack:
        _check_pack(args)
        if (Path(args.data) / "bank.json").is_file():
            _pack(Path(args.data), args)
            return
    from bioatt_training.data.layouts import find_scans
    from bioatt_training.data.prepare import Plan, prepare
    from bioatt_training.data.scans import with_patients

    if args.dose is not None and not 0 < args.dose < 1:
        raise InputError(f"--dose is {args.dose:g}: give a dose fraction between 0 and 1")
    if args.most_slices < 1:
        raise InputError("--most-slices must be 1 or more")
    target = _target(args.target)
    listing = find_scans(Path(args.data))
    if args.patients:
        listing = with_patients(listing, Path(args.patients))
    if args.dose is not None:
        listing = replace(listing, scans=[replace(scan, dose=args.dose) for scan in listing.scans])
    pairs = sum(scan.low is not None for scan in listing.scans)
    print(
        f"{listing.kind}: {pairs} pairs, {len(listing.scans) - pairs} single scans, "
        f"{len({scan.patient for scan in listing.scans})} patients"
    )
    if args.list:
        for scan in listing.scans:
            print(f"  {scan.name}: {'pair' if scan.low else 'single'}, patient {scan.patient}")
    else:
        if not args.out:
            raise InputError("give the folder for the bank, or use --list")
        split = args.split if args.split in ("patients", "slices") else Path(args.split)
        plan = Plan(split, args.most_slices, target=target, prior=args.prior, fast=args.fast, seed=args.seed)
        count = prepare(listing, Path(args.out), plan, say=print)
        print(f"{count} slices in {args.out}")
        if args.pack:
            _pack(Path(args.out), args)
    for what, why in listing.left_out:
        print(f"left out: {what}: {why}", file=sys.stderr)


def _check_pack(args: argparse.Namespace) -> None:
    """Raise InputError early if the pack cannot be written."""
    from bioatt.core.errors import InputError
    from bioatt.io.outputs import check_file_place

    if not args.pack.endswith(".npz"):
        raise InputError(f"{Path(args.pack).name}: give the pack the suffix .npz")
    if not args.pack_mib > 0:
        raise InputError(f"--pack-mib is {args.pack_mib:g}: make it larger than 0")
    check_file_place(Path(args.pack), overwrite=True)


def _pack(bank: Path, args: argparse.Namespace) -> None:
    from bioatt_training.gpu.packing import pack_bank

    slices, size = pack_bank(bank, Path(args.pack), args.pack_mib)
    print(f"{slices} slices in {args.pack}, {size / 2**20:.1f} MiB")


def _target(convention: str) -> Kernel | None:
    """The kernel of softened targets, or None for the scan itself. Raises InputError for other values."""
    from bioatt.core.errors import InputError
    from bioatt.simulation.tomography import kernel_named

    word, _, name = convention.partition(":")
    if convention == "scan":
        return None
    if word != "softened":
        raise InputError(f"unknown target {convention!r}: use scan, softened or softened:KERNEL")
    return kernel_named(name or "B10")
