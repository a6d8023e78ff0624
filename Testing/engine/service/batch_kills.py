"""Kill a batch at random moments: whatever is published must be complete each time. Prints JSON.

    python batch_kills.py --count 200 --seed 0

Each run is forked from a process that has loaded the engine, so that kills hit the work and not the imports.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from pydicom import dcmread

from bioatt.io.integrity import content_sha256
from bioatt.service.finding import find_series
from bioatt.service.results import MANIFEST, WORK, Results, index_of, read_manifest
from bioatt.service.rules import Rule
from bioatt.service.studies import DONE, Engine, denoise_series

SLICES = 3
RULES = (Rule("all", model="bioatt-fast"),)

_SPEC = importlib.util.spec_from_file_location("writer", Path(__file__).parents[1] / "io" / "conftest.py")
_WRITER = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_WRITER)


def kills(folder: Path, count: int, seed: int = 0, scans: int = 3) -> dict[str, Any]:
    """Kill a batch `count` times; whenever all its scans are done, it starts again with an empty output."""
    torch.set_num_threads(1)
    source, out, chance = folder / "in", folder / "out", random.Random(seed)
    for number in range(scans):
        _WRITER.write_series(source / f"{number}", _WRITER.ct_like(SLICES, 32, 32, seed=number))
    before = content_sha256(sorted(source.rglob("*.dcm")))
    engine = Engine("cpu")
    assert _run(source, folder / "first", engine) == [DONE] * scans  # loads models
    began = time.monotonic()
    assert _run(source, folder / "second", engine) == [DONE] * scans
    longest = 1.2 * (time.monotonic() - began)
    killed = within = published = broken = rounds = 0
    while killed < count:
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if _run(source, out, engine) else 1)
            finally:
                os._exit(2)
        wait = chance.uniform(0, longest)
        ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while time.monotonic() - started < wait and os.waitid(os.P_PID, child, ended) is None:
            time.sleep(0.005)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        within += any((out / WORK).glob("*/")) if os.WIFSIGNALED(status) and out.exists() else 0
        found = [file.parent for file in out.rglob(MANIFEST) if WORK not in file.parts]
        published += len(found)
        broken += sum(not _whole(path) for path in found)
        if not os.WIFSIGNALED(status):
            assert len(found) == scans
            shutil.rmtree(out)
            rounds += 1
    statuses = _run(source, out, engine)
    return {
        "kills": killed,
        "with results half made": within,
        "batches that came to their end meanwhile": rounds,
        "published results looked at": published,
        "of them not whole": broken,
        "after the last kill": sorted(set(statuses)),
        "left half made": len([path for path in (out / WORK).iterdir() if path.is_dir()]),
        "input unchanged": content_sha256(sorted(source.rglob("*.dcm"))) == before,
    }


def _run(source: Path, out: Path, engine: Engine) -> list[str]:
    out.mkdir(exist_ok=True)
    results = Results(out, index_of(out))
    return [denoise_series(series, RULES, results, engine).status for series in find_series(source).series]


def _whole(results: Path) -> bool:
    images = [dcmread(file) for file in (results / "dicom").iterdir()]
    return read_manifest(results) is not None and [len(image.pixel_array) for image in images] == [32] * SLICES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(kills(Path(folder), args.count, args.seed), indent=1))


if __name__ == "__main__":
    main()
