"""Start-up time, and time for 300 slices. Run: python Testing/bench/bench_start.py SCAN FOLDER

CPU and wall seconds of whole processes (`bioatt --help`, one slice), of a warm preview, and of 300 slices obtained by
traversing the scan up and down.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from bioatt import Denoiser, Volume, read_volume, tune_cpu
from bioatt.inference.assembly import make_denoiser
from bioatt.inference.options import EngineOptions

SLICES = 300


def process(*arguments: str) -> str:
    """CPU and wall seconds of a process, from the faster of two runs."""
    best = (float("inf"), float("inf"))
    for _ in range(2):
        before, start = _children(), time.perf_counter()
        subprocess.run([sys.executable, "-m", "bioatt.cli", *arguments], check=True, stdout=subprocess.DEVNULL)
        best = min(best, (_children() - before, time.perf_counter() - start))
    return f"{best[0]:.2f} | {best[1]:.2f}"


def _children() -> float:
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def inside(work: object) -> str:
    """CPU and wall seconds of a call in this process."""
    before = time.process_time(), time.perf_counter()
    work()  # type: ignore[operator]
    return f"{time.process_time() - before[0]:.2f} | {time.perf_counter() - before[1]:.2f}"


def body(scan: Volume, slices: int) -> Volume:
    """A volume of `slices` slices, traversing the scan up and down."""
    way = [*range(scan.shape[0]), *range(scan.shape[0] - 2, 0, -1)]
    return Volume(scan.hu[np.resize(way, slices)], spacing=scan.spacing, direction=scan.direction)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scan")
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    scan = read_volume(args.scan)
    middle = scan.shape[0] // 2
    one = ["denoise", args.scan, str(args.folder / "one.nrrd"), "--slices", f"{middle}:{middle + 1}", "--overwrite"]
    print("| | CPU s | wall s |\n| --- | --- | --- |")
    print(f"| bioatt --help | {process('--help')} |")
    tune_cpu()
    print(f"| first run of bioatt: what is fastest here | {inside(lambda: make_denoiser(EngineOptions('bioatt')))} |")
    print(f"| bioatt denoise, one slice | {process(*one)} |")
    denoiser = Denoiser("bioatt")
    denoiser.preview(scan, middle)
    print(f"| preview, warm | {inside(lambda: denoiser.preview(scan, middle + 1))} |")
    fast, long = make_denoiser(EngineOptions("bioatt-fast")), body(scan, SLICES)
    print(f"| {SLICES} slices by bioatt-fast ({fast.way}) | {inside(lambda: fast.denoise(long))} |", flush=True)


if __name__ == "__main__":
    main()
