"""CPU time of this version's models over that of another version's `bioatt`, volume in memory to result in memory.

python Testing/bench/bench_versions.py CHECKOUT SCAN, with another version in CHECKOUT (`git worktree add CHECKOUT
e7c170f` is model 0.8.0). PyTorch in float32, CPU seconds of all threads. The versions wait in their own processes and
take turns, so that a machine whose speed drifts slows all of them; every turn gives a ratio.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 12
SLICES = 7
MODELS = ("bioatt", "bioatt-fast")
_SERVE = """
import importlib, sys, time
import bioatt
try:
    bioatt.tune_cpu()
except AttributeError:  # not public in 0.8.0
    importlib.import_module("bioatt.device").tune_cpu()
volume = bioatt.read_volume(sys.argv[1])
denoiser = bioatt.Denoiser(sys.argv[2], device="cpu", precision="fp32")
slices = range(1, 1 + int(sys.argv[3]))
for _ in sys.stdin:
    start = time.process_time()
    denoiser.denoise(volume, slices=slices)
    print(time.process_time() - start, flush=True)
"""


class Version:
    """A process that denoises SLICES slices whenever it is asked to."""

    def __init__(self, checkout: Path, scan: str, model: str) -> None:
        environment = {
            "OMP_WAIT_POLICY": "PASSIVE",  # threads that wait would otherwise use CPU time
            **os.environ,
            "PYTHONPATH": str(checkout / "BioAttDenoise"),
            "BIOATT_TUNING": "off",
        }
        command = [sys.executable, "-c", _SERVE, scan, model, str(SLICES)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)

    def cpu_seconds(self) -> float:
        """CPU seconds of one turn."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


def main(checkout: str, scan: str) -> None:
    """Print the median and quartiles of each model's ratio."""
    import numpy as np

    path = str(Path(scan).resolve())
    other = Version(Path(checkout).resolve(), path, "bioatt")
    models = {name: Version(ROOT, path, name) for name in MODELS}
    turns = [[one.cpu_seconds() for one in (other, *models.values())] for _ in range(1 + ROUNDS)]
    seconds = np.array(turns[1:])  # the first turn warms up
    for name, ratio in zip(MODELS, (seconds[:, 1:] / seconds[:, :1]).T, strict=True):
        low, middle, high = np.percentile(ratio, (25, 50, 75))
        print(f"{name}: median {middle:.3f}, quartiles {low:.3f} and {high:.3f}, {ROUNDS} turns")


if __name__ == "__main__":
    main(*sys.argv[1:])
