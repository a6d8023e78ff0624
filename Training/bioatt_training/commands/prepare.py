"""`bioatt-train prepare`: scans, in pairs or alone, as a bank that `fit` trains on."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bioatt.simulation.tomography import Kernel

HELP = "make a bank for `fit` from folders of scans: Mayo 2016, LDCT-and-Projection-data, pairs, or single scans"
RESUMES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bioatt-train prepare`."""
    parser.add_argument("data", metavar="DIR", help="folder of scans; its layout is recognised")
    parser.add_argument("out", metavar="OUT", nargs="?", help="folder for the bank")
    parser.add_argument("--list", action="store_true", help="say what would be used and what not, and stop")
    parser.add_argument(
        "--split",
        default="patients",
        metavar="FILE.json|patients|slices",
        help="who trains, validates and tests: named in a file, patients drawn (default), or the paper's slice order",
    )
    parser.add_argument("--patients", metavar="FILE.csv", help="columns file, patient: whose scans these are")
    parser.add_argument("--dose", type=float, help="dose fraction of the low-dose scans in pairs (default 0.25)")
    parser.add_argument("--most-slices", type=int, default=1_000_000, metavar="N", help="slices taken of a scan")
    parser.add_argument(
        "--target",
        default="scan",
        metavar="scan|softened[:KERNEL]",
        help="what the network is asked for: the scan (default), or the scan as a softer kernel (B10) would show it",
    )
    parser.add_argument("--prior", default="maps", help="source of the priors (default maps)")
    parser.add_argument("--fast", action="store_true", help="noise from half the views")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--pack",
        metavar="FILE.npz",
        help="write the data pack of the bank OUT too, for a training on a GPU (Testing/gpu); DIR may be that bank",
    )
    parser.add_argument("--pack-mib", type=float, default=20.0, metavar="N", help="its largest size (default 20 MiB)")


def run(args: argparse.Namespace) -> None:
    """Find, check and write; everything left out is named on stderr."""
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
        raise InputError(f"a dose fraction lies between 0 and 1, not at {args.dose:g}")
    if args.most_slices < 1:
        raise InputError("--most-slices is 1 or more")
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
            raise InputError("name the folder for the bank, or use --list")
        split = args.split if args.split in ("patients", "slices") else Path(args.split)
        plan = Plan(split, args.most_slices, target=target, prior=args.prior, fast=args.fast, seed=args.seed)
        count = prepare(listing, Path(args.out), plan, say=print)
        print(f"{count} slices in {args.out}")
        if args.pack:
            _pack(Path(args.out), args)
    for what, why in listing.left_out:
        print(f"left out: {what}: {why}", file=sys.stderr)


def _check_pack(args: argparse.Namespace) -> None:
    """Raise InputError, before the work, where no pack can be written."""
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
    """The kernel of softened targets, or None for the scan itself. InputError for another word."""
    from bioatt.core.errors import InputError
    from bioatt.simulation.tomography import kernel_named

    word, _, name = convention.partition(":")
    if convention == "scan":
        return None
    if word != "softened":
        raise InputError(f"unknown target {convention!r}: use scan, softened or softened:KERNEL")
    return kernel_named(name or "B10")
