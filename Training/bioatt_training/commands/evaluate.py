"""`bioatt-train evaluate`: evaluate models on held-out patients."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "evaluate models on the held-out patients of a bank, and test their differences"
RESUMES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bioatt-train evaluate`."""
    parser.add_argument("bank", metavar="BANK", help="bank created by `bioatt-train prepare`")
    parser.add_argument(
        "--model",
        nargs="+",
        default=["auto"],
        metavar="MODEL",
        help="model names or .safetensors files; further models are compared with the first, paired by patient",
    )
    parser.add_argument("--part", default="test", choices=("test", "validation"), help="default test")
    parser.add_argument("--dose", type=float, default=0.25, help="dose fraction of the input (default 0.25)")
    parser.add_argument("--per-patient", type=int, metavar="N", help="at most N slices per patient (default all)")
    parser.add_argument(
        "--prior",
        default="maps",
        help="source applied to the low-dose slice (default maps), or bank for the bank's own priors",
    )
    parser.add_argument(
        "--strength",
        type=float,
        default=1.0,
        help="fraction of the network's change to apply (default 1; `bioatt denoise` applies less). A model "
        "trained with scans as targets retains a fraction of the noise equal to the dose; 1 / (1 - dose) removes it",
    )
    parser.add_argument(
        "--json",
        metavar="FILE.json",
        help="write results to this file as they arrive; an interrupted call resumes from it",
    )


def run(args: argparse.Namespace) -> None:
    """Evaluate, then print the tables and the differences between models."""
    from tqdm import tqdm

    from bioatt.compute.device import choose, tune_cpu
    from bioatt.inference.models import default_model, load_model
    from bioatt.io.outputs import check_file_place
    from bioatt_training.data.bank import Bank
    from bioatt_training.evaluation.compare import earlier_results, evaluate_all
    from bioatt_training.evaluation.judge import Judgement
    from bioatt_training.evaluation.table import comparison, report

    tune_cpu()
    path = Path(args.json) if args.json else None
    if path:
        check_file_place(path, overwrite=True)
        earlier_results(path)  # refuse any other existing file before starting
    judgement = Judgement(args.part, args.dose, args.per_patient, args.prior, args.strength)
    bank = Bank(Path(args.bank))
    models = [load_model(default_model(choose().device.type) if name == "auto" else name) for name in args.model]
    with tqdm(desc="patients", leave=False, disable=None) as bar:
        results = evaluate_all(models, bank, judgement, path, progress=bar.update)
    print("\n\n".join(report(result) for result in results))
    if len(results) > 1:
        print(f"\n{comparison(results)}")
