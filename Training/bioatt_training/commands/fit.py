"""`bioatt-train fit`: train one model from a configuration."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "train a model; run again to resume after an interruption"
RESUMES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bioatt-train fit`."""
    parser.add_argument("--config", required=True, metavar="FILE.toml", help="see Training/configs")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="output folder for checkpoints, logs and the exported model"
    )
    parser.add_argument("--arm", help="train this arm of Table 1 instead of the configuration's")
    parser.add_argument("--seed", type=int, help="seed instead of the configuration's")
    parser.add_argument("--bank", metavar="DIR", help="bank instead of the configuration's")
    parser.add_argument("--devices", type=int, default=1, metavar="N", help="GPUs, or processes on CPUs, of each node")
    parser.add_argument("--nodes", type=int, default=1, metavar="N", help="machines, under torchrun or SLURM")


def run(args: argparse.Namespace) -> None:
    """Train and print where the model is."""
    from dataclasses import replace

    from bioatt.core.errors import InputError
    from bioatt_training.adversarial.methods import METHODS
    from bioatt_training.fit.config import Config
    from bioatt_training.fit.lightning_import import rank_zero_only
    from bioatt_training.fit.run import fit

    if args.devices < 1 or args.nodes < 1:
        raise InputError("--devices and --nodes are 1 or more")
    config = Config.read(Path(args.config), METHODS)
    if args.arm:
        config = config.of_arm(args.arm)
    if args.seed is not None:
        config = replace(config, run=replace(config.run, seed=args.seed))
    if args.bank:
        config = replace(config, data=replace(config.data, bank=args.bank))
    model = fit(config, Path(args.out), devices=args.devices, nodes=args.nodes)
    rank_zero_only(print)(model)
