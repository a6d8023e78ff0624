"""`bioatt-train bank`: slices, their quarter-dose noise and priors, ready for training."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "make the bank of slices, noise and priors that `fit` trains on"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bioatt-train bank`."""
    parser.add_argument("data", metavar="DIR", help="the CT collection (SOURCES.md, volumes/, slices/)")
    parser.add_argument("out", metavar="OUT", help="folder for the bank")
    parser.add_argument("--split", required=True, metavar="FILE.json", help="patients of validation and test")
    parser.add_argument("--phantoms", type=int, default=60, help="simulated torsos to mix in (default 60)")
    parser.add_argument("--realisations", type=int, default=2, help="noise realisations a CT slice (default 2)")
    parser.add_argument("--most-slices", type=int, default=40, help="slices taken from a volume (default 40)")
    parser.add_argument("--seed", type=int, default=1)


def run(args: argparse.Namespace) -> None:
    """Build the bank."""
    from bioatt_training.bank import build_bank

    build_bank(
        Path(args.data),
        Path(args.split),
        Path(args.out),
        phantoms=args.phantoms,
        realisations=args.realisations,
        most_slices=args.most_slices,
        seed=args.seed,
    )
