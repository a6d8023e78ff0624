"""`bioatt-train physics`: detectability, hallucination audit, automated measurements and patient sizes for a model."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "evaluate a model with CT physics: detectability by dose, hallucination audit, automated measurements"
RESUMES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bioatt-train physics`."""
    parser.add_argument("out", metavar="OUT", help="output folder for results.json, README.md and figures")
    parser.add_argument("--model", default="bioatt", help="model name or .safetensors file (default bioatt)")
    parser.add_argument("--work", metavar="DIR", help="folder for measurements (default OUT/work)")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="fewer scans and kernels: under half an hour on two cores")
    size.add_argument(
        "--full", action="store_true", help="all scans and kernels, and BM3D (default; needs the extra [benchmark])"
    )


def run(args: argparse.Namespace) -> None:
    """Run the missing measurements, and write the report."""
    import logging

    from bioatt.compute.device import tune_cpu
    from bioatt.core.errors import InputError
    from bioatt.io.files import make_folder
    from bioatt_training.studies.benchmark.baselines import missing
    from bioatt_training.studies.physics.figures import write_figures
    from bioatt_training.studies.physics.report import write_report
    from bioatt_training.studies.physics.results import measured
    from bioatt_training.studies.physics.runner import QUICK, Runner, Size
    from bioatt_training.studies.physics.subjects import BlockMatching, Network

    tune_cpu()
    logging.getLogger("bioatt_training.studies.physics").setLevel(logging.INFO)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if not args.quick and "bm3d" in missing():
        raise InputError("bm3d missing: install the extra [benchmark], or give --quick")
    folder = Path(args.out)
    make_folder(folder)
    runner = Runner(
        Network(args.model),
        Path(args.work) if args.work else folder / "work",
        QUICK if args.quick else Size(),
        slow=() if args.quick else (BlockMatching(),),
    )
    for results in measured(runner):  # after each part, so that an interrupted run has a page
        write_report(results, write_figures(results, folder), folder)
    print(f"{folder.name}/: README.md, results.json and figures")
