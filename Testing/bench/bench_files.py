"""Cost of reading and writing next to the computation. Run: python Testing/bench/bench_files.py DICOM [--slices 6]

CPU milliseconds per slice on one thread, median of 3 rounds: denoising, denoising without network and prior, reading
the series, and writing each output format, including the check before the run.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bioatt import read_volume, tune_cpu
from bioatt.benchmark.clock import timed
from bioatt.inference import tiling
from bioatt.inference.assembly import make_denoiser
from bioatt.inference.denoiser import Denoiser
from bioatt.inference.options import EngineOptions
from bioatt.inference.run import Run
from bioatt.io.outputs import check_result_output, write_result

ROUNDS = 3
MADE: dict[str, Any] = {"model_name": "bioatt", "model_version": "1", "strength": 1.0}


class NoNetwork(Run):
    """Returns the slice unchanged."""

    def __call__(self, padded: Any, p: Any, box: tiling.Box, maps: Any) -> Tensor:
        return torch.from_numpy(padded[len(padded) // 2][box.moved(self.network.border).slices])


class Around(Denoiser):
    """Everything but the network."""

    def _run(self) -> Run:
        return NoNetwork(**vars(super()._run()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--slices", type=int, default=6)
    args = parser.parse_args()
    torch.set_num_threads(1)
    tune_cpu()
    scan = read_volume(args.scan)
    first = (len(scan.hu) - args.slices) // 2
    volume = scan.part(range(first, first + args.slices))
    denoiser = make_denoiser(EngineOptions("bioatt", device="cpu"))
    around = Around(denoiser.model, prior="uniform", device="cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def written(output: Path) -> None:
            check_result_output(volume, output, overwrite=True)
            write_result(volume, output, overwrite=True, **MADE)
            if output.is_dir():
                shutil.rmtree(output)

        works = {
            "denoise": lambda: denoiser.denoise(volume),
            "denoise, without network and prior": lambda: around.denoise(volume),
            "read DICOM": lambda: read_volume(args.scan),
            "write DICOM": lambda: written(folder / "series"),
            "write .nrrd": lambda: written(folder / "out.nrrd"),
            "write .nii.gz": lambda: written(folder / "out.nii.gz"),
        }
        times = timed(works, ROUNDS)
    print(f"{denoiser.way}; {args.slices} slices of {scan.shape[2]} x {scan.shape[1]}\n")
    print("| | CPU ms a slice |\n| --- | --- |")
    for work, one in times.items():
        print(f"| {work} | {1e3 * one.cpu / (len(scan.hu) if work == 'read DICOM' else args.slices):.1f} |")


if __name__ == "__main__":
    main()
