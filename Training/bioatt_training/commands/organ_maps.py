"""`bioatt-train organ-maps`: train the organ-map network, evaluate it on held-out patients, write its card."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "train and evaluate the organ-map network"
RESUMES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bioatt-train organ-maps`."""
    parser.add_argument("data", metavar="DIR", help="the CT collection with masks/ and organs.csv")
    parser.add_argument(
        "out", metavar="OUT", help="folder for checkpoint, weights and model card; an interrupted run resumes"
    )
    parser.add_argument("--split", metavar="FILE", required=True, help="JSON of test and validation patients")
    parser.add_argument("--steps", type=int, default=5200, help="total optimiser steps (default 5200)")
    parser.add_argument("--phantoms", type=int, default=36, help="number of simulated torsos to add (default 36)")
    parser.add_argument(
        "--pack", metavar="FILE", help="only write the slices for `Testing/gpu/run.sh organs` to this file"
    )
    parser.add_argument(
        "--adopt", metavar="FILE.pt[:VARIANT]", help="use a network trained by `Testing/gpu/run.sh organs`"
    )
    parser.add_argument(
        "--further", type=int, default=0, metavar="N", help="train the adopted network for N more steps"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--apart", metavar="PATIENT", default="TCGA-09-2043", help="test patient to list separately")


def run(args: argparse.Namespace) -> None:
    """Train or adopt, calibrate on the validation patients, evaluate on the test patients, write weights and card."""
    from dataclasses import replace

    import torch

    from bioatt.anatomy.descriptors import load_descriptor_set
    from bioatt.priors.organ_maps import OrganMapPrior
    from bioatt_training.priors.organ_maps.card import model_card
    from bioatt_training.priors.organ_maps.figure import write_figure
    from bioatt_training.priors.organ_maps.fit import FURTHER, FitConfig
    from bioatt_training.priors.organ_maps.judge import scans_of
    from bioatt_training.priors.organ_maps.slices import write_pack
    from bioatt_training.priors.organ_maps.train import adopt, export, facts, judge_part, prepare, train

    torch.set_num_threads(args.threads)
    data, folder, descriptors = Path(args.data), Path(args.out), load_descriptor_set("paper17")
    prepared = prepare(data, folder, descriptors, Path(args.split), args.phantoms)
    if args.pack:
        write_pack(Path(args.pack), prepared.of("train"), prepared.of("validation"), prepared.phantom)
        return
    if args.adopt:
        trained = adopt(args.adopt, 1 + len(descriptors))
        if args.further:
            config = replace(FURTHER, steps=args.further, seed=args.seed, widths=trained.network.widths)
            trained = train(prepared, config, folder, trained)
    else:
        trained = train(prepared, FitConfig(steps=args.steps, seed=args.seed), folder)
    weights = export(trained, prepared, data, folder)
    judgements = judge_part(weights, "test", prepared, data, folder)
    card = model_card(weights, facts(prepared, trained), judgements, args.apart)
    weights.with_suffix(".md").write_text(card, encoding="utf-8")
    scans = scans_of(data, prepared.patients("test"), descriptors)
    write_figure(OrganMapPrior(descriptors, path=weights), scans, descriptors, weights.with_suffix(".png"))
    print(card)
