"""`run.sh slabs`: train the shipped networks, bioatt and bioatt-fast, from a pack of neighbouring slices."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from bioatt.core.errors import BioAttError
from bioatt_training.slabs.pack import read_pack
from bioatt_training.slabs.train import RECORD, Recipe, Stop, Training

ROOT = Path(__file__).parents[2]
MARGIN_S = 15.0
"""Reserved for the last save and for exiting."""


def main() -> int:
    """Train; exit status 2 for a wrong input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--pack", default=str(ROOT / ".gpu" / "slabs.npz"), help="made by `bioatt-train network --pack`"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--limit", type=float, help="seconds (default what run.sh has left, less a margin)")
    parser.add_argument("--save-every", type=float, default=60.0, help="seconds between savings (default 60)")
    parser.add_argument("--steps", type=int, help="at most (default the recipe's)")
    parser.add_argument("--batch", type=int, help="patches a step, at least 4 (default the recipe's)")
    args = parser.parse_args()
    begin = time.time()
    left = float(os.environ.get("GPU_DEADLINE", begin + 560)) - begin - MARGIN_S
    stop = Stop()
    signal.signal(signal.SIGTERM, lambda *_: setattr(stop, "asked", True))
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        folder = Path(os.environ.get("OUT", ROOT / "scratch" / "gpu"))
        folder.mkdir(parents=True, exist_ok=True)
        previous = Path(os.environ.get("GPU_PREVIOUS", str(ROOT / ".gpu" / "previous")))
        if (previous / RECORD).is_file() and not (folder / RECORD).is_file():
            for path in previous.glob("bioatt*.pt"):
                shutil.copyfile(path, folder / path.name)
            shutil.copyfile(previous / RECORD, folder / RECORD)
        pack = read_pack(Path(args.pack))
        print(f"| pack | {len(pack.scan)} slices of {len(pack.phantom)} scans | {time.time() - begin:.1f} s |")
        recipe = Recipe()
        if args.steps:
            recipe = replace(recipe, steps=args.steps)
        if args.batch:
            phantoms = args.batch * recipe.drawing.phantoms // recipe.drawing.batch // 2 * 2
            recipe = replace(recipe, drawing=replace(recipe.drawing, batch=args.batch, phantoms=phantoms))
        training = Training(pack, recipe, folder, torch.device(args.device))
        print(f"| ready | {time.time() - begin:.1f} s |")
        seconds = args.limit if args.limit is not None else left - (time.time() - begin)
        training.run(seconds, args.save_every, stop)
    except BioAttError as error:
        print(f"slabs: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
