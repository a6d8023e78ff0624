"""Time of projection, FBP and noise insertion, 512² and 736 × 1,152. Run: python Testing/bench/bench_tomography.py

--device cuda times the same calls on a GPU, including the transfer of the arrays; compare wall times in that case.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import numpy as np

from bioatt.simulation.tomography import Geometry, fbp, kernel_named, project
from bioatt_training.simulate import Scanner, insert_noise

PIXEL_MM = 0.8


def timed(slices: int, runs: int, function: Callable[..., object], *args: object, **options: object) -> str:
    """Best wall and CPU time per slice of `runs` calls, after a first call that compiles and fills caches."""
    function(*args, **options)
    took = []
    for _ in range(runs):
        start = time.perf_counter(), time.process_time()
        function(*args, **options)
        took.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    wall, cpu = (min(values) / slices for values in zip(*took, strict=True))
    return f"{wall:.3f} s (CPU {cpu:.3f} s)"


def main() -> None:
    """Print the best of five runs, for the noise insertion of three."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu (compiled loops, default), cuda, cuda:N, mps")
    device = parser.parse_args().device
    where = f"{os.cpu_count()} cores" if device == "cpu" else device
    y, x = np.mgrid[:512, :512] - 255.5
    body = np.where((x / 200) ** 2 + (y / 140) ** 2 < 1, 0.0193, 0).astype(np.float32)
    geometry, kernel = Geometry(), kernel_named("B30")
    for slices in (1, 16):
        images = np.repeat(body[None], slices, 0)
        views = project(images, PIXEL_MM, geometry, device=device)
        forward = timed(slices, 5, project, images, PIXEL_MM, geometry, device=device)
        back = timed(slices, 5, fbp, views, geometry, (512, 512), PIXEL_MM, kernel, device=device)
        print(f"{slices:2d} slice(s), {where}: per slice projection {forward}, FBP {back}")
    hu = np.repeat(np.where(body > 0, 40.0, -1000.0).astype(np.float32)[None], 16, 0)
    for name, scanner in (("1,152 views", Scanner()), ("576 views", Scanner().faster())):
        options = {"dose_fraction": 0.25, "kernel": "B30", "noise_hu": 10.0, "scanner": scanner, "device": device}
        print(f"16 slices, {name}: per slice noise insertion {timed(16, 3, insert_noise, hu, PIXEL_MM, **options)}")


if __name__ == "__main__":
    main()
