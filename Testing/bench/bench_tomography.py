"""Time of projection, FBP and noise insertion, 512² and 736 × 1,152. Run: python Testing/bench/bench_tomography.py"""

from __future__ import annotations

import os
import time

import numpy as np

from bioatt.tomography import Geometry, fbp, kernel_named, project
from bioatt_training.simulate import Scanner, insert_noise

PIXEL_MM = 0.8


def main() -> None:
    """Best of five, after a first run that compiles."""
    y, x = np.mgrid[:512, :512] - 255.5
    body = np.where((x / 200) ** 2 + (y / 140) ** 2 < 1, 0.0193, 0).astype(np.float32)
    geometry = Geometry()
    for slices in (1, 16):
        images = np.repeat(body[None], slices, 0)
        best = [np.inf, np.inf]
        busy = [np.inf, np.inf]
        for _ in range(6):
            marks = [(time.perf_counter(), time.process_time())]
            views = project(images, PIXEL_MM, geometry)
            marks.append((time.perf_counter(), time.process_time()))
            fbp(views, geometry, (512, 512), PIXEL_MM, kernel_named("B30"))
            marks.append((time.perf_counter(), time.process_time()))
            for part in range(2):
                wall, cpu = (b - a for a, b in zip(marks[part], marks[part + 1], strict=True))
                best[part], busy[part] = min(best[part], wall), min(busy[part], cpu)
        print(
            f"{slices:2d} slice(s), {os.cpu_count()} cores: per slice projection {best[0] / slices:.3f} s"
            f" (CPU {busy[0] / slices:.3f} s), FBP {best[1] / slices:.3f} s (CPU {busy[1] / slices:.3f} s)"
        )
    hu = np.repeat(np.where(body > 0, 40.0, -1000.0).astype(np.float32)[None], 16, 0)
    for name, scanner in (("1,152 views", Scanner()), ("576 views", Scanner().faster())):
        took = []
        for _ in range(3):
            start = time.perf_counter(), time.process_time()
            insert_noise(hu, PIXEL_MM, dose_fraction=0.25, kernel="B30", noise_hu=10.0, scanner=scanner)
            took.append((time.perf_counter() - start[0], time.process_time() - start[1]))
        wall, cpu = (value / len(hu) for value in min(took))
        print(f"16 slices, {name}: per slice noise insertion {wall:.3f} s (CPU {cpu:.3f} s)")


if __name__ == "__main__":
    main()
