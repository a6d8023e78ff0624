"""`bioatt-train fit`: train one model as a configuration says."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "train a model; run again after an interruption and it goes on"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bioatt-train fit`."""
    parser.add_argument("--config", required=True, metavar="FILE.toml", help="see Training/configs")
    parser.add_argument("--out", required=True, metavar="DIR", help="checkpoints, logs and the exported model")


def run(args: argparse.Namespace) -> None:
    """Train and say where the model is."""
    from bioatt_training.fit import Config, fit

    print(fit(Config.read(Path(args.config)), Path(args.out)))
