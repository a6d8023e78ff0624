"""`bioatt-train adopt`: the outputs of a training on a GPU (Testing/gpu) as model files, judged and described."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "export what Testing/gpu/run.sh train left, judge it on left-out patients, write its card"
RESUMES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bioatt-train adopt`."""
    parser.add_argument("outputs", metavar="DIR", help="folder with train.json and weights-….pt")
    parser.add_argument("--bank", required=True, metavar="BANK", help="judge on its test patients")
    parser.add_argument("--out", required=True, metavar="DIR", help="models, card, report; called again, it goes on")
    parser.add_argument(
        "--per-patient", type=int, metavar="N", help="judge at most N slices of a patient (default all)"
    )


def run(args: argparse.Namespace) -> None:
    """Export, judge, and say where the models are."""
    from tqdm import tqdm

    from bioatt.compute.device import tune_cpu
    from bioatt_training.gpu.adopt import adopt

    tune_cpu()
    command = f"bioatt-train adopt {Path(args.outputs).name} --bank {Path(args.bank).name} --out {Path(args.out).name}"
    with tqdm(desc="patients", leave=False, disable=None) as bar:
        models = adopt(
            Path(args.outputs),
            Path(args.bank),
            Path(args.out),
            per_patient=args.per_patient,
            command=command,
            progress=bar.update,
        )
    for model in models:
        print(model)
