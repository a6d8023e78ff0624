"""`bioatt-train benchmark`: compare models with tuned classical filters; measure full-dose safety and noise texture."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "compare models with tuned classical filters: quality, full-dose safety, noise texture, default strength"
RESUMES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bioatt-train benchmark`."""
    parser.add_argument("bank", metavar="BANK", help="bank created by `bioatt-train prepare`")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="output folder for results.json, README.md and figures"
    )
    parser.add_argument(
        "--models",
        nargs="+",
        default=["auto"],
        metavar="MODEL",
        help="names or .safetensors files; the first is the reference",
    )
    parser.add_argument(
        "--baselines",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also tune and run the classical filters (needs the extra [benchmark])",
    )
    parser.add_argument("--work", metavar="DIR", help="folder for measurements and phantoms (default OUT/work)")
    parser.add_argument("--quick", action="store_true", help="few small slices and two baselines, for a trial run")


def run(args: argparse.Namespace) -> None:
    """Run the missing measurements, and write the report."""
    import logging

    from bioatt.compute.device import tune_cpu
    from bioatt.core.errors import InputError
    from bioatt.io.files import make_folder
    from bioatt_training.data.bank import Bank
    from bioatt_training.studies.benchmark.baselines import missing
    from bioatt_training.studies.benchmark.denoisers import WHOLE, Model
    from bioatt_training.studies.benchmark.figures import write_figures, write_pictures
    from bioatt_training.studies.benchmark.report import write_report
    from bioatt_training.studies.benchmark.results import measured
    from bioatt_training.studies.benchmark.runner import QUICK, Runner, Size

    tune_cpu()
    logging.getLogger("bioatt_training.studies.benchmark").setLevel(logging.INFO)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if args.baselines and not args.quick and missing():
        raise InputError(f"{', '.join(missing())} missing: install the extra [benchmark], or give --no-baselines")
    folder = Path(args.out)
    models = [Model(name) for name in args.models]
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise InputError(f"several models have the same name ({', '.join(names)}): rename the files")
    bank = Bank(Path(args.bank))
    if not bank.indices("test"):
        raise InputError("the bank has no test slices: create it with a split that holds patients out")
    make_folder(folder)
    runner = Runner(bank, Path(args.work) if args.work else folder / "work", QUICK if args.quick else Size())
    whole = [Model(name, WHOLE) for name in args.models]
    results = measured(runner, models, whole, baselines=args.baselines)
    figures = {**write_figures(results, folder), **write_pictures(bank, models, folder)}
    write_report(results, figures, folder)
    print(f"{folder.name}/: README.md, results.json and figures")
