"""`bioatt-train adopt`: turn the outputs of a GPU training (Testing/gpu) into evaluated model files with cards."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "export the outputs of Testing/gpu/run.sh train, evaluate them on held-out patients, write the model card"
RESUMES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bioatt-train adopt`."""
    parser.add_argument("outputs", metavar="DIR", help="folder with train.json and weights-….pt")
    parser.add_argument(
        "--bank", required=True, metavar="BANK", help="bank whose test patients are used for evaluation"
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="output folder for models, card and report; an interrupted call resumes",
    )
    parser.add_argument(
        "--per-patient", type=int, metavar="N", help="evaluate at most N slices per patient (default all)"
    )


def run(args: argparse.Namespace) -> None:
    """Export, evaluate, and print where the models are."""
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
