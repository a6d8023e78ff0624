"""What limits a batch of many studies: CPU time per slice of each stage, and studies per hour by number of workers.

    python Testing/bench/bench_batch.py [--slices 16] [--size 512] [--studies 6] [--workers 1 2]

Stages are measured in CPU time, which other programs hardly affect; throughput is measured in wall time.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bioatt.anatomy.organs import find_organs
from bioatt.inference.models import load_model
from bioatt.io.images import read_volume
from bioatt.io.integrity import content_sha256
from bioatt.io.outputs import write_result
from bioatt.service.batch import run_batch
from bioatt.service.finding import find_series
from bioatt.service.preview import write_preview
from bioatt.service.studies import Engine

WRITER = Path(__file__).parents[1] / "engine" / "io" / "conftest.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("slices", 16), ("size", 512), ("studies", 6)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        write_studies(top / "in", args.studies, args.slices, args.size)
        found: dict[str, object] = {"cpu_ms_per_slice": stages(top, args.slices * args.studies)}
        for workers in args.workers:
            start, used = time.monotonic(), _cpu_of_children()
            batch = run_batch(top / "in", top / f"out{workers}", device="cpu", workers=workers)
            studies = len(batch.outcomes)
            found[f"{workers} workers"] = {
                "studies_per_hour": round(studies * 3600 / (time.monotonic() - start)),
                "cpu_s_per_study": round((_cpu_of_children() - used) / studies, 1),
            }
        start, used = time.monotonic(), _cpu_of_children()
        run_batch(top / "in", top / f"out{args.workers[0]}", device="cpu", workers=1)
        found["all done before"] = {
            "seconds": round(time.monotonic() - start, 1),
            "cpu_s_of_worker": round(_cpu_of_children() - used, 1),
        }
    print(json.dumps({**vars(args), **found}, indent=1))


def _cpu_of_children() -> float:
    """CPU seconds of the child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def stages(top: Path, slices: int) -> dict[str, float]:
    """CPU milliseconds per slice of each stage for the first study; finding the series covers all studies."""
    spent: dict[str, float] = {}

    @contextmanager
    def measured(name: str, of: int) -> Iterator[None]:
        start = time.process_time()
        yield
        spent[name] = round(1000 * (time.process_time() - start) / of, 2)

    engine = Engine("cpu")
    with measured("find by headers", slices):
        series = find_series(top / "in").series[0]
    of = len(series.files)
    with measured("hash content", of):
        content_sha256(series.content)
    with measured("read", of):
        volume = read_volume(series.files)
    for model in ("bioatt", "bioatt-fast"):
        denoiser = engine.denoiser(model)
        denoiser.denoise(volume.part(range(1)))
        with measured(f"denoise, {model}", of):
            result = denoiser.denoise(volume)
    engine.anatomy.maps  # noqa: B018 - loads the maps before timing starts
    with measured("organs before and after", of):
        find_organs(volume, engine.anatomy, after=result.volume)
    made = {"model_name": load_model("bioatt").name, "model_version": "0", "strength": 0.75}
    with measured("write and verify DICOM", of):
        write_result(result.volume, top / "written", True, **made)
    with measured("preview", of):
        write_preview(volume, result.volume, top / "preview.webp")
    return spent


def write_studies(top: Path, studies: int, slices: int, size: int) -> None:
    """Write studies of a soft-tissue ellipse, each with a different noise realisation."""
    specification = importlib.util.spec_from_file_location("writer", WRITER)
    writer = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(writer)
    write: Callable[..., object] = writer.write_series
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    clean = np.where((x / 0.85) ** 2 + (y / 0.75) ** 2 < 1, 40.0, -1000.0)
    for seed in range(studies):
        noise = np.random.default_rng(seed).normal(0, 20, (slices, size, size))
        write(top / f"study{seed}", (clean + noise).round().astype(np.int16))


if __name__ == "__main__":
    main()
