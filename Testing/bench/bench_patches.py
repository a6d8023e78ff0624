"""Patches per second: supplied by the loaders, and consumed by training. Run: python Testing/bench/bench_patches.py

Prints one line per sampling: the loader alone, with 0 and with --workers processes, on a bank of 200 slices of 512²
that fits into memory; the training step alone (forward, backward, optimiser) on the GPU if there is one, else on the
CPU; and the ratio of the two. Above 1, the device never waits for data.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from bioatt.compute.device import tune_cpu
from bioatt_training.data.writer import BankWriter
from bioatt_training.fit.arms import arm_network
from bioatt_training.fit.config import Config, DataConfig, NetworkConfig, OptimiserConfig, RunConfig
from bioatt_training.fit.loaders import ResumableLoader, RunData, TrainingBatches
from bioatt_training.fit.objectives import mse
from bioatt_training.fit.schedule import build_optimiser

SLICES = 200


def main() -> None:
    """Measure the paper's patches at its batch size, and random patches with a 32-filter U-Net."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    args = parser.parse_args()
    tune_cpu()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        bank = _bank(Path(folder) / "bank")
        for name, data, network in (
            ("grid 55²", DataConfig(bank, sampling="grid", batch=16), NetworkConfig()),
            (
                "random 128²",
                DataConfig(bank, sampling="random", patch=128, batch=8),
                NetworkConfig(layout="unet", filters=32),
            ),
        ):
            config = Config(RunConfig("bench", "0"), network, OptimiserConfig(steps=1_000_000), data)
            alone, helped = (_loading(config, workers, args.seconds) for workers in (0, args.workers))
            computed = _computing(config, device, args.seconds)
            print(
                f"{name}, batch {data.batch}: loader {alone:,.0f}/s, {helped:,.0f}/s with {args.workers} workers; "
                f"training steps on {device.type} {computed:,.1f}/s; ratio {alone / computed:,.0f} alone, "
                f"{helped / computed:,.0f} with workers"
            )


def _bank(folder: Path) -> str:
    rng = np.random.default_rng(0)
    header = {"descriptors": [f"d{n}" for n in range(17)], "descriptor_set": "x", "prior": "uniform"}
    with BankWriter(folder, header) as writer:
        for number in range(SLICES):
            part = "train" if number % 20 else "validation"
            about = {"source": "s", "patient": f"p{number % 20}", "part": part, "pixel_mm": 0.8}
            about |= {"thickness_mm": 3.0, "kernel": None, "noise_hu": 10.0, "slice_id": str(number)}
            images = rng.normal(0, 30, (2, 512, 512))
            writer.add(images[0], images[1], np.full(17, 1 / 17, np.float32), about)
    return str(folder)


def _loading(config: Config, workers: int, seconds: float) -> float:
    data = RunData(config)
    batches = iter(ResumableLoader(data.train, TrainingBatches(data, 0, 1), workers))
    for _ in range(10 * max(workers, 1)):
        next(batches)
    return config.data.batch * _rate(lambda: next(batches), seconds)


def _computing(config: Config, device: torch.device, seconds: float) -> float:
    data = RunData(config)
    low, target, p = (part.to(device) for part in next(iter(ResumableLoader(data.train, TrainingBatches(data, 0, 1)))))
    network = arm_network(config.network, 17).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = build_optimiser(config.optimiser, network.parameters())

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            output = network(low, p)
        optimiser.zero_grad()
        mse(output.float(), target, low).backward()
        optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    step()
    return config.data.batch * _rate(step, seconds)


def _rate(work: Callable[[], object], seconds: float) -> float:
    """Calls per second."""
    start, calls = time.perf_counter(), 0
    while calls < 3 or time.perf_counter() - start < seconds:
        work()
        calls += 1
    return calls / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
