"""`bioatt-train reproduce`: reproduce the paper's experiments, from scans to Table 1 with intervals."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "reproduce the paper's experiments: all arms and seeds, Table 1, curves, attention maps, a report"
RESUMES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bioatt-train reproduce`."""
    parser.add_argument(
        "--data", required=True, metavar="DIR", help="a bank, or a folder of scans as for `bioatt-train prepare`"
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="output folder for runs and report; an interrupted call resumes"
    )
    parser.add_argument(
        "--budget", type=float, metavar="MINUTES", help="reduce the runs so that all finish within this time"
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each arm (default 3)")
    parser.add_argument("--arms", metavar="A,B,…", help="arms of Table 1 (default all, in its order)")
    parser.add_argument("--filters", type=int, default=96, metavar="N", help="width of the networks (default 96)")
    parser.add_argument("--report", metavar="DIR", help="folder for the report (default OUT/report)")
    parser.add_argument(
        "--split", default="patients", metavar="FILE.json|patients|slices", help="as in `bioatt-train prepare`"
    )
    parser.add_argument("--prior", default="maps", help="source of the priors if a bank is created")


def run(args: argparse.Namespace) -> None:
    """Prepare if needed, run, and print where the report is."""
    from bioatt.compute.device import choose
    from bioatt_training.fit.arms import ARMS
    from bioatt_training.studies.reproduction.reproduce import Wish, reproduce

    data, out = Path(args.data), Path(args.out)
    device = choose().device.type
    wish = Wish(
        arms=tuple(args.arms.split(",")) if args.arms else tuple(ARMS),
        seeds=args.seeds,
        filters=args.filters,
        minutes=args.budget,
        command=_command(args),
        machine=f"{'one CPU core' if _threads() == 1 else f'{_threads()} CPU cores'}" if device == "cpu" else device,
    )
    bank = data if (data / "bank.json").is_file() else _prepared(data, out / "bank", args.split, args.prior)
    report = Path(args.report) if args.report else out / "report"
    results = reproduce(bank, out, wish, report, say=lambda line: print(line, flush=True))
    print(f"{len(results.runs)} runs, {len(results.failures)} failed: {report / 'README.md'}")


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _command(args: argparse.Namespace) -> str:
    """The command line without machine-specific paths."""

    def place(folder: str) -> str:
        return Path(folder).name if Path(folder).is_absolute() else folder

    said = f"bioatt-train reproduce --data {place(args.data)} --out {place(args.out)} --seeds {args.seeds}"
    said += f" --filters {args.filters}" + (f" --arms {args.arms}" if args.arms else "")
    return said + (f" --budget {args.budget:g}" if args.budget else "")


def _prepared(data: Path, bank: Path, split: str, prior: str) -> Path:
    """A bank of the scans in `data`, created once."""
    from bioatt_training.data.layouts import find_scans
    from bioatt_training.data.prepare import Plan, prepare

    if not (bank / "bank.json").is_file():
        plan = Plan(split=split if split in ("patients", "slices") else Path(split), prior=prior)
        prepare(find_scans(data), bank, plan, say=lambda line: print(line, flush=True))
    return bank
