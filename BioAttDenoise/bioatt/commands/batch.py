"""`bioatt batch`: denoise all scans of a folder tree, list or CSV by rules; rerunning resumes an interrupted batch."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bioatt.commands.console import print_json

if TYPE_CHECKING:
    from bioatt.service.batch import Told

HELP = "denoise all scans of a folder tree, list or CSV by rules, with a report; run again to resume"
RESUMES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `bioatt batch`."""
    parser.add_argument(
        "input", metavar="IN", help="folder, file, DICOMDIR, .txt (one path per line) or .csv (column path)"
    )
    parser.add_argument("output", metavar="OUT", help="output folder: one subfolder per scan, and the report")
    parser.add_argument(
        "--rules", metavar="FILE.toml", help="rules for scans, model, strength, formats (Docs/batch.md)"
    )
    parser.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="where to run (default local); ray: a Ray cluster"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="scans in parallel (default: one per GPU, else one)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default auto)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> None:
    """Find, denoise and report. If a scan failed, raises BioAttError for an internal error, InputError otherwise."""
    from bioatt.core.errors import BioAttError, InputError
    from bioatt.service.batch import run_batch
    from bioatt.service.report import NAME, report, write_report
    from bioatt.service.rules import EVERY_SCAN, read_rules

    if args.workers is not None and args.workers < 1:
        raise InputError(f"--workers {args.workers}: give 1 or more")
    rules = read_rules(Path(args.rules)) if args.rules else EVERY_SCAN
    out = Path(args.output)
    batch = run_batch(
        Path(args.input), out, rules, engine=args.engine, device=args.device, workers=args.workers, told=_print_progress
    )
    found = report(batch)
    write_report(found, out)
    counts = ", ".join(f"{count} {status}" for status, count in found["counts"].items())
    if args.json:
        print_json(found)
    else:
        print(f"{out}: {counts}; {NAME}.html, .csv, .json")
    if batch.failed:
        kind = BioAttError if any(outcome.ours for outcome in batch.failed) else InputError
        raise kind(f"{len(batch.failed)} of {len(batch.outcomes)} scans failed: see {NAME}.html for the reasons")


def _print_progress(progress: Told) -> None:
    """Print one line per scan on stderr, with the time left."""
    outcome = progress.outcome
    if outcome is None:
        return
    left = "" if progress.eta_s is None or progress.number == progress.count else f", {_minutes(progress.eta_s)} left"
    detail = f": {outcome.reason}" if outcome.reason else f" in {outcome.seconds:.1f} s"
    print(
        f"[{progress.number}/{progress.count}] {outcome.name} {outcome.status}{detail}{left}",
        file=sys.stderr,
        flush=True,
    )


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
