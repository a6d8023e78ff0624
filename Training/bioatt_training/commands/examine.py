"""`bioatt-train examine`: examine priors, neighbours, guidance, attention, texture and dose on held-out patients."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "examine networks on held-out patients: priors, neighbours, guidance, attention, texture, dose"
RESUMES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bioatt-train examine`."""
    parser.add_argument("data", metavar="DATA", help="the CT collection with volumes/, slices/ and slabs/")
    parser.add_argument(
        "out", metavar="OUT", help="output folder for results.json and README.md; measurements in OUT/work"
    )
    parser.add_argument("--split", metavar="FILE", required=True, help="JSON of test and validation patients")
    parser.add_argument("--models", nargs="+", default=["bioatt"], metavar="NAME", help="names or .safetensors files")
    parser.add_argument(
        "--part", choices=("test", "validation"), default="test", help="part of the split (default test)"
    )
    parser.add_argument("--quick", action="store_true", help="three patients and one case each, for a trial run")


def run(args: argparse.Namespace) -> None:
    """Run the missing measurements, and write the page after each part."""
    import logging

    from bioatt.compute.device import tune_cpu
    from bioatt.core.errors import InputError
    from bioatt.io.files import make_folder
    from bioatt_training.studies.network.examined import Examined
    from bioatt_training.studies.network.report import measured, write_report
    from bioatt_training.studies.network.runner import QUICK, Runner, Size

    tune_cpu()
    logging.getLogger("bioatt_training.studies.network").setLevel(logging.INFO)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    models = [Examined(name) for name in args.models]
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise InputError(f"several models have the same name ({', '.join(names)}): rename the files")
    folder = Path(args.out)
    make_folder(folder)
    size = QUICK if args.quick else Size()
    runner = Runner(models, Path(args.data), Path(args.split), args.part, folder / "work", size)
    for results in measured(runner):  # after each part, so that an interrupted run has a page
        write_report(results, folder)
    print(f"{folder.name}/: README.md and results.json")
