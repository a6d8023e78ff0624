"""`bioatt-train prior`: train the embedded prior, evaluate it, write its weights and model card."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "train and judge the embedded anatomical prior"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bioatt-train prior`."""
    parser.add_argument("data", metavar="DIR", help="the CT collection (SOURCES.md, organs.csv, volumes/, slices/)")
    parser.add_argument(
        "out", metavar="OUT", help="folder for weights, folds' networks, model card; networks found stay"
    )
    parser.add_argument("--folds", type=int, default=5, help="groups of patients left out in turn (default 5)")
    parser.add_argument("--epochs", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")


def run(args: argparse.Namespace) -> None:
    """Train, judge as trained and under changes of the scan, write the card."""
    import torch

    from bioatt.anatomy.descriptors import load_descriptor_set
    from bioatt.priors.embedded import FILE
    from bioatt_training.priors.card import model_card
    from bioatt_training.priors.fit import FitConfig
    from bioatt_training.priors.robustness import CHANGES, judge_under
    from bioatt_training.priors.train import DRAWN_HEADS, cross_validate, prepare, train

    torch.set_num_threads(args.threads)
    folder, descriptors = Path(args.out), load_descriptor_set("paper17")
    config = FitConfig(epochs=args.epochs)
    training = prepare(Path(args.data), folder, descriptors)
    crossed = cross_validate(training, args.folds, config, folder)
    factor = train(training, crossed, config, folder)
    judgements = {
        what: judge_under(change, Path(args.data), training.data, crossed, descriptors.descriptors)
        for what, change in CHANGES.items()
    }
    card = model_card(
        crossed.judgement(training.data, descriptors.descriptors),
        judgements,
        factor,
        config,
        folder / FILE,
        folds=args.folds,
        parameters=sum(parameter.numel() for parameter in crossed.networks[0].parameters()),
        heads=DRAWN_HEADS,
    )
    (folder / FILE).with_suffix(".md").write_text(card, encoding="utf-8")
    print(card)
