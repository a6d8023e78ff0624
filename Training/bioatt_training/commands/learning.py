"""`bioatt-train learning`: compare training methods on held-out patients."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "compare training methods: pixel loss, ablations of ALDEN, unpaired, low dose only"
RESUMES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bioatt-train learning`."""
    parser.add_argument("bank", metavar="BANK", help="bank created by `bioatt-train prepare`")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="output folder for trainings, README.md and results.json"
    )
    parser.add_argument("--learners", nargs="+", metavar="NAME", help="the first is the reference (default all)")
    parser.add_argument("--steps", type=int, default=300, help="steps of each training, a multiple of 4 (default 300)")
    parser.add_argument("--filters", type=int, default=12, help="filters of the network (default 12)")
    parser.add_argument(
        "--per-patient", type=int, default=1, metavar="N", help="slices to evaluate per patient (default 1)"
    )


def run(args: argparse.Namespace) -> None:
    """Run the missing trainings, evaluate, and write the report."""
    from bioatt.core.errors import InputError
    from bioatt_training.studies.learning.learners import LEARNERS, Size
    from bioatt_training.studies.learning.study import compare_learners

    names = args.learners or list(LEARNERS)
    if unknown := [name for name in names if name not in LEARNERS]:
        raise InputError(f"unknown learner {unknown[0]!r}: choose among {', '.join(LEARNERS)}")
    if args.steps < 4 or args.steps % 4:
        raise InputError("--steps must be a multiple of 4, for four validations")
    size = Size(steps=args.steps, filters=args.filters)
    compare_learners(Path(args.bank), Path(args.out), size, names=names, per_patient=args.per_patient, say=print)
    print(f"{args.out}: README.md and results.json")
