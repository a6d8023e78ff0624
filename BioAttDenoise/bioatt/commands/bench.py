"""`bioatt bench`: time denoising on this machine by part, backend and precision, and compare with other filters."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "time denoising on this machine by part, backend and precision, and compare with other filters"
MODELS = "bioatt,bioatt-fast"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `bioatt bench`."""
    parser.add_argument("input", metavar="IN", nargs="?", help="a scan (default: a simulated torso)")
    parser.add_argument("--reference", metavar="FILE", help="IN at full dose or without noise, to report PSNR")
    parser.add_argument("--models", default=MODELS, metavar="NAME,...", help=f"models to time (default {MODELS})")
    parser.add_argument("--slices", type=int, default=8, metavar="N", help="number of middle slices (default 8)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="timing rounds, interleaved (default 3)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: PyTorch's)")
    parser.add_argument("--no-others", action="store_true", help="do not time other filters")
    parser.add_argument("--out", metavar="DIR", help="write bench.json, bench.md and bench.png to DIR")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def run(args: argparse.Namespace) -> None:
    """Measure, print, and write the files if `--out` is given."""
    import json
    import sys

    import torch

    from bioatt.benchmark.measure import benchmark
    from bioatt.benchmark.report import markdown, plot
    from bioatt.compute.device import tune_cpu
    from bioatt.core.errors import InputError
    from bioatt.io.files import atomic_write
    from bioatt.io.images import read_volume

    if min(args.slices, args.rounds, 1 if args.threads is None else args.threads) < 1:
        raise InputError("--slices, --rounds and --threads must be at least 1")
    folder = None if args.out is None else Path(args.out)
    if folder is not None and not folder.parent.is_dir():
        raise InputError(f"{folder.parent.name}: no such folder: create it, or give another --out")
    if args.reference is not None and args.input is None:
        raise InputError("--reference needs a scan to compare: give it as IN")
    tune_cpu()
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    volume = None if args.input is None else read_volume(args.input)
    found = benchmark(
        volume,
        reference=None if args.reference is None else read_volume(args.reference),
        models=args.models.split(","),
        slices=args.slices,
        rounds=args.rounds,
        others=not args.no_others,
        say=lambda what: print(f"timing {what}", file=sys.stderr),
    )
    text = json.dumps(found, indent=1)
    print(text if args.json else markdown(found))
    if folder is not None:
        folder.mkdir(exist_ok=True)
        for name, content in (("bench.json", text), ("bench.md", markdown(found))):
            with atomic_write(folder / name) as partial:
                partial.write_text(content, encoding="utf-8")
        with atomic_write(folder / "bench.png") as partial:
            plot(found, partial)
