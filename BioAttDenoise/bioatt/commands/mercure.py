"""`bioatt mercure`: a mercure processing module, run as a container."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from bioatt.commands.console import print_json

HELP = "run as a mercure module: denoise MERCURE_IN_DIR into MERCURE_OUT_DIR (see Docs/containers.md)"
_IN, _OUT = "MERCURE_IN_DIR", "MERCURE_OUT_DIR"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `bioatt mercure`."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default auto)")
    parser.add_argument("--json", action="store_true", help="print the outcome of each series as JSON")


def run(args: argparse.Namespace) -> None:
    """Denoise the series in MERCURE_IN_DIR and print the outcome of each."""
    from bioatt.core.errors import InputError

    folders = [os.environ.get(name, "") for name in (_IN, _OUT)]
    if not all(folders):
        raise InputError(f"{_IN} and {_OUT} are not set: mercure sets them; see bioatt --help for other commands")

    from bioatt.compute.device import tune_cpu
    from bioatt.service.mercure import run_module

    tune_cpu()
    outcomes = run_module(Path(folders[0]), Path(folders[1]), args.device)
    if args.json:
        print_json([{"name": one.name, "status": one.status, "reason": one.reason} for one in outcomes])
        return
    for outcome in outcomes:
        print(f"{outcome.name}: {outcome.status}{outcome.reason and ': ' + outcome.reason}")
    print("Research use only: not a medical device.")
