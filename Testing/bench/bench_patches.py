"""Patches a second from a bank of 200 slices of 512², one process. Run: python Testing/bench/bench_patches.py"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from bioatt_training.bank import Bank
from bioatt_training.data.grid import GridDataset
from bioatt_training.data.writer import BankWriter
from bioatt_training.patches import DataConfig, PatchDataset

SLICES, BATCH, BATCHES = 200, 64, 60


def main() -> None:
    """Random places, and the paper's grid, both with augmentation, in batches as the training gets them."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bank"
        with BankWriter(path, {"descriptors": ["a", "b"], "descriptor_set": "x", "prior": "uniform"}) as writer:
            for number in range(SLICES):
                about = {"source": "s", "patient": f"p{number % 20}", "part": "train", "pixel_mm": 0.8}
                about |= {"thickness_mm": 3.0, "kernel": None, "noise_hu": 10.0, "slice_id": str(number)}
                images = rng.normal(0, 30, (2, 512, 512))
                writer.add(images[0], images[1], np.array([0.5, 0.5], np.float32), about)
        bank = Bank(path)
        random = PatchDataset(bank, DataConfig("", patch=55), "train", BATCH * (BATCHES + 1), 1)
        grid = GridDataset(bank, "train", augment=True)
        for name, loader in (
            ("random places", DataLoader(random, BATCH)),
            ("the paper's grid", DataLoader(grid, BATCH, shuffle=True)),
        ):
            batches = iter(loader)
            next(batches)
            start = _clocks()
            for _ in range(BATCHES):
                next(batches)
            wall, cpu = (BATCH * BATCHES / (now - begin) for now, begin in zip(_clocks(), start, strict=True))
            print(f"{name}: {wall:,.0f} patches of 55² a second, {cpu:,.0f} in a second of CPU time")


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


if __name__ == "__main__":
    main()
