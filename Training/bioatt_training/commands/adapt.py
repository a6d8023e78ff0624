"""`bioatt-train adapt`: fine-tune a model to the scans of a folder, and keep it if it is better."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "adapt a model to your scanner from pairs, from low and full dose of different patients, or from low dose alone"
RESUMES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bioatt-train adapt`."""
    parser.add_argument(
        "data", metavar="FOLDER", help="folder of scans, with subfolders low and full if both doses exist"
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="output folder for banks, training, adapt.json and the model"
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="total time in minutes (default 20)")
    parser.add_argument("--model", default="auto", help="the model to adapt (default: this machine's)")


def run(args: argparse.Namespace) -> None:
    """Prepare, train, evaluate, and report which model is better."""
    import json

    from bioatt.compute.device import choose, tune_cpu
    from bioatt.core.errors import InputError
    from bioatt.inference.models import default_model
    from bioatt_training.adversarial.adapt import adapt

    if not args.minutes > 0:
        raise InputError("--minutes must be above 0")
    tune_cpu()
    model = default_model(choose().device.type) if args.model == "auto" else args.model
    out = Path(args.out)
    adapted = adapt(Path(args.data), out, minutes=args.minutes, model=model, say=print)
    result = json.loads((out / "adapt.json").read_text(encoding="utf-8"))
    errors = result["squared_error_hu2"]
    change = 100 * (errors["adapted"] / errors["shipped"] - 1)
    print(f"squared error on {result['slices']} held-out slices: {change:+.1f} % of {model}'s")
    print(f"{adapted}: better than {model}. Research use only." if adapted else f"{model} is kept: it is not worse")
