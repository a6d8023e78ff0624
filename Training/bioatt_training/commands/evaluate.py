"""`bioatt-train evaluate`: a model on patients that its training left out."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "judge a model on the left-out patients of a bank"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bioatt-train evaluate`."""
    parser.add_argument("bank", metavar="BANK", help="folder made by `bioatt-train bank`")
    parser.add_argument("--model", default="auto", help="model name or .safetensors file")
    parser.add_argument("--part", default="test", choices=("test", "validation"), help="default test")
    parser.add_argument("--dose", type=float, default=0.25, help="dose fraction of the input (default 0.25)")
    parser.add_argument("--json", metavar="FILE.json", help="write all numbers")


def run(args: argparse.Namespace) -> None:
    """Judge and print the table."""
    from tqdm import tqdm

    from bioatt.device import tune_cpu
    from bioatt.errors import InputError
    from bioatt.outputs import check_file_place
    from bioatt_training.bank import Bank
    from bioatt_training.evaluate import evaluate, table, write_json

    tune_cpu()
    if not 0 < args.dose < 1:
        raise InputError(f"--dose {args.dose:g}: give a fraction between 0 and 1")
    if args.json:
        check_file_place(Path(args.json))
    bank = Bank(Path(args.bank))
    with tqdm(desc="patients", leave=False, disable=None) as bar:
        result = evaluate(args.model, bank, args.part, args.dose, progress=lambda _: bar.update())
    print(table(result))
    if args.json:
        write_json(result, Path(args.json))
