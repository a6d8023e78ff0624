"""`run.sh organs`: train several variants of the organ maps in parallel from a pack of slices, on the GPU."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from bioatt.core.errors import BioAttError
from bioatt_training.gpu.train import Stop
from bioatt_training.priors.organ_maps.variants import VARIANTS, chosen, train_variants

ROOT = Path(__file__).parents[2]
MARGIN_S = 12.0
"""Reserved for collecting the results and for exiting."""


def main() -> int:
    """Train; exit status 2 for a wrong input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pack", default=str(ROOT / ".gpu" / "organs.npz"), help="`bioatt-train organ-maps --pack`")
    parser.add_argument("--variants", default="final", help=f"of {', '.join(VARIANTS)}, trained beside each other")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--limit", type=float, help="seconds (default what run.sh has left, less a margin)")
    parser.add_argument("--steps", type=int, help="at most (default each variant's)")
    args = parser.parse_args()
    begin = time.time()
    deadline = float(os.environ.get("GPU_DEADLINE", begin + 560)) - MARGIN_S
    stop = Stop()
    signal.signal(signal.SIGTERM, lambda *_: setattr(stop, "asked", True))
    try:
        variants = chosen(args.variants.split(","))
        if args.steps:
            variants = {
                name: replace(one, steps=args.steps, save_every=min(one.save_every, args.steps))
                for name, one in variants.items()
            }
        record = train_variants(
            Path(args.pack),
            Path(os.environ.get("OUT", ROOT / "scratch" / "gpu")),
            variants,
            args.device,
            deadline if args.limit is None else begin + args.limit,
            stopped=lambda: stop.asked,
        )
    except BioAttError as error:
        print(f"organs: {error}", file=sys.stderr)
        return 2
    for name, one in record.items():
        last = one["history"][-1]
        print(f"| {name} | {last['step']} steps | {last['seconds']:.0f} s | validation Dice {last['mean']:.3f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
