"""`run.sh train`: train the paper's network and other arms of its Table 1 from a data pack, on the GPU."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import torch

from bioatt.core.errors import BioAttError
from bioatt_training.fit.arms import ARMS
from bioatt_training.fit.config import Config
from bioatt_training.gpu.outputs import RECORD, Outputs
from bioatt_training.gpu.pack import read_pack
from bioatt_training.gpu.train import Stop, train

ROOT = Path(__file__).parents[2]
MARGIN_S = 15.0
"""Reserved for the last save and for exiting."""
ORDER = ("bioatt", *(arm for arm in ARMS if arm != "bioatt"))


def main() -> int:
    """Train; exit status 2 for a wrong input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pack", default=str(ROOT / ".gpu" / "pack.npz"), help="made by `bioatt-train prepare --pack`")
    parser.add_argument("--config", default=str(ROOT / "Training" / "configs" / "gpu.toml"))
    parser.add_argument("--arms", default=",".join(ORDER), help="in this order; those that are done are left out")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--limit", type=float, help="seconds (default what run.sh has left, less a margin)")
    parser.add_argument("--save-every", type=float, default=60.0, help="seconds between savings (default 60)")
    args = parser.parse_args()
    begin = time.time()
    if unknown := [arm for arm in args.arms.split(",") if arm not in ARMS]:
        parser.error(f"unknown arm {unknown[0]}: choose from {', '.join(ARMS)}")
    left = float(os.environ.get("GPU_DEADLINE", begin + 560)) - begin - MARGIN_S
    stop = Stop()
    signal.signal(signal.SIGTERM, lambda *_: setattr(stop, "asked", True))
    torch.backends.cudnn.benchmark = True
    try:
        folder = Path(os.environ.get("OUT", ROOT / "scratch" / "gpu"))
        _take_over(os.environ.get("GPU_PREVIOUS", str(ROOT / ".gpu" / "previous")), folder)
        pack = read_pack(Path(args.pack))
        outputs = Outputs(folder)
        config = Config.read(Path(args.config))
        print(f"| pack | {len(pack.slices)} slices | read in {time.time() - begin:.1f} s |")
        train(
            config,
            pack,
            outputs,
            arms=args.arms.split(","),
            device=torch.device(args.device),
            limit_s=args.limit if args.limit is not None else left - (time.time() - begin),
            save_every_s=args.save_every,
            stop=stop,
        )
    except BioAttError as error:
        print(f"train: {error}", file=sys.stderr)
        return 2
    return 0


def _take_over(previous: str, folder: Path) -> None:
    """Copy an earlier call's outputs unless this call already has some."""
    source = Path(previous)
    if (source / RECORD).is_file() and not (folder / RECORD).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for path in source.iterdir():
            if path.suffix in (".pt", ".json") and path.name != "check.json":
                shutil.copyfile(path, folder / path.name)


if __name__ == "__main__":
    sys.exit(main())
