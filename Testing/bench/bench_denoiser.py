"""`make bench`: cost of the halo, of the precision and of a whole volume. Compare ratios: seconds vary by machine.

Halo and precision are measured with random weights, on which the cost does not depend.
"""

from __future__ import annotations

import resource
import statistics
import time

import numpy as np
import torch

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.compute.device import choose, cpu_has_bf16, tune_cpu
from bioatt.core.volume import Volume
from bioatt.inference.denoiser import Denoiser
from bioatt.inference.tiling import Box, pad, run
from bioatt.network import build_network

ROUNDS = 5
DESCRIPTORS = load_descriptor_set("paper17")


def seconds(work) -> float:
    """Median of ROUNDS calls after one warm-up call."""
    work()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def halo() -> None:
    """The 96-filter network on one 512 × 512 slice: alone, and with the engine's halo in float32 and bf16."""
    network = build_network("bioatt").eval().to(memory_format=torch.channels_last)
    image = np.random.default_rng(0).normal(size=(512, 512)).astype(np.float32)
    p = torch.full((17,), 1 / 17)
    box = Box(0, 512, 0, 512)

    def bare() -> None:
        with torch.inference_mode():
            network(torch.from_numpy(image)[None, None], p[None])

    def engine(precision: str) -> None:
        with torch.inference_mode(), choose("cpu", precision).arithmetic():
            run(network, torch.from_numpy(pad(image, network)), p, box)

    reference = seconds(bare)
    print(f"96 filters, one 512 x 512 slice: bare network fp32 {reference:.2f} s = 1.00")
    for precision in ("fp32", "bf16") if cpu_has_bf16() else ("fp32",):
        print(f"  engine {precision}: {seconds(lambda p=precision: engine(p)) / reference:.2f}")


def volume(model: str = "auto", slices: int = 300) -> None:
    """A 512 × 512 × 300 volume with the default model: time, and peak memory in addition to input and output."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    body = np.where((x / 0.8) ** 2 + (y / 0.6) ** 2 < 1, 40, -1000)
    hu = np.empty((slices, 512, 512), np.int16)
    for k in range(slices):
        hu[k] = body + rng.normal(scale=30, size=body.shape)
    scan = Volume(hu, spacing=(0.75, 0.75, 1.0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = Denoiser(model, device="cpu").denoise(scan)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    extra = (peak - before) / 2**20 - result.volume.hu.nbytes / 2**30
    print(
        f"{slices} slices of 512 x 512, {result.model.name}, {result.precision}: {result.seconds:.0f} s, "
        f"{extra:.1f} GB beyond input and output"
    )


if __name__ == "__main__":
    tune_cpu()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, bf16 {'yes' if cpu_has_bf16() else 'no'}")
    volume()
    halo()
