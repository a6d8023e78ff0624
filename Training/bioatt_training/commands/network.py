"""`bioatt-train network`: train bioatt and bioatt-fast together on slices with their neighbours."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "train the shipped networks"
RESUMES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bioatt-train network`."""
    parser.add_argument("data", metavar="DIR", help="the CT collection with volumes/, slices/ and slabs/")
    parser.add_argument("out", metavar="OUT", help="folder for data, checkpoint and models; an interrupted run resumes")
    parser.add_argument("--split", metavar="FILE", required=True, help="JSON of test and validation patients")
    parser.add_argument("--organ-maps", metavar="FILE", help="weights of the organ maps (default the installed ones)")
    parser.add_argument("--phantoms", type=int, default=26, help="number of simulated torsos to add (default 26)")
    parser.add_argument(
        "--pack", metavar="FILE", help="only write the data for `Testing/gpu/run.sh slabs` to this file"
    )
    parser.add_argument("--adopt", metavar="FOLDER", help="export the outputs of `Testing/gpu/run.sh slabs`")
    parser.add_argument("--steps", type=int, help="total optimiser steps (default from the recipe)")
    parser.add_argument("--device", default="cpu", help="where to train: cpu (default) or cuda")
    parser.add_argument("--version", default="1.0.0", help="version of the models (default 1.0.0)")


def run(args: argparse.Namespace) -> None:
    """Prepare the data, train, export."""
    import math
    from dataclasses import replace

    import torch

    from bioatt.anatomy.descriptors import load_descriptor_set
    from bioatt.io.files import make_folder
    from bioatt.priors.organ_maps import organ_maps_file
    from bioatt_training.slabs.export import export
    from bioatt_training.slabs.pack import read_pack
    from bioatt_training.slabs.packing import make_pack
    from bioatt_training.slabs.stacks import kept, make_stacks, plans
    from bioatt_training.slabs.train import Recipe, Stop, Training

    data, folder, split = Path(args.data), Path(args.out), Path(args.split)
    descriptors = load_descriptor_set("paper17")
    make_folder(folder)
    files = make_stacks(data, folder / "stacks", split, range(args.phantoms))
    outputs = Path(args.adopt) if args.adopt else folder
    if not args.adopt:
        pack = Path(args.pack) if args.pack else folder / "slabs.npz"
        if not pack.is_file():
            organ_maps = Path(args.organ_maps) if args.organ_maps else organ_maps_file()
            size = make_pack(files, pack, descriptors, organ_maps, noise=not args.pack)
            print(f"{pack.name}: {size / 2**20:.1f} MiB")
        if args.pack:
            return
        recipe = replace(Recipe(), steps=args.steps) if args.steps else Recipe()
        Training(read_pack(pack), recipe, folder, torch.device(args.device)).run(math.inf, 600.0, Stop())
    stacks = [kept(path) for path in files]
    for name, path in export(outputs, folder, descriptors, stacks, plans(data, split), args.version).items():
        print(f"{name}: {path}")
