"""Processes that denoise scans in parallel, one per device; a scan that crashes its process spares the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from bioatt.service.finding import Series
from bioatt.service.results import Results
from bioatt.service.rules import Rule
from bioatt.service.studies import FAILED, Engine, Outcome, denoise_series

ATTEMPTS = 2
"""Number of attempts on a scan that crashes its process."""
TICK_S = 0.1
"""Interval between progress reports on running scans."""
_END_S = 10.0
"""Time for a worker to remove incomplete results."""


@dataclass(frozen=True)
class Job:
    """Settings common to all scans of a batch. index: see `Results`."""

    rules: tuple[Rule, ...]
    out: Path
    index: Mapping[str, Path] = field(default_factory=dict)


def devices_for(device: str, workers: int | None) -> list[str]:
    """The device of each worker: by default every CUDA device once, else one worker; or as many as requested.

    Raises InputError for a device that this machine lacks.
    """
    from bioatt.compute.device import available, choose

    chosen = choose(device).device
    named = [one["name"] for one in available() if one["name"].startswith("cuda:")]
    devices = named if chosen.type == "cuda" and chosen.index is None and named else [str(chosen)]
    return [devices[k % len(devices)] for k in range(workers or len(devices))]


def run_locally(
    series: Sequence[Series],
    job: Job,
    devices: Sequence[str],
    working: Callable[[Mapping[str, float]], None] = lambda parts: None,
) -> Generator[Outcome, None, None]:
    """Yield the outcome of each scan as it finishes. A process that dies is replaced, and its scan retried once.

    working: called every TICK_S seconds with the progress, 0 to 1, of each running scan, by name; an exception from it
    ends the work.
    """
    waiting = deque((one, 1) for one in series)
    workers = [_Worker(job, device, min(len(devices), len(series))) for device in devices[: len(series)]]
    try:
        while waiting or any(worker.scan for worker in workers):
            for worker in workers:
                if worker.scan is None and waiting:
                    worker.begin(*waiting.popleft())
            ready = wait([worker.pipe for worker in workers if worker.scan], TICK_S)
            working({worker.scan[0].name: worker.part for worker in workers if worker.scan})
            for worker in [one for one in workers if one.pipe in ready]:
                assert worker.scan is not None
                scan, attempt = worker.scan
                outcome = worker.hear()
                if worker.scan:
                    continue
                if outcome is None and attempt < ATTEMPTS:
                    waiting.append((scan, attempt + 1))
                    continue
                yield outcome or Outcome(scan.name, FAILED, f"crashed its process {ATTEMPTS} times (out of memory?)")
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A worker process. scan: the current scan and the number of the attempt. part: its progress, 0 to 1."""

    def __init__(self, job: Job, device: str, of: int) -> None:
        self.given = (job, device, of)
        self.scan: tuple[Series, int] | None = None
        self.part = 0.0
        self.process: BaseProcess | None = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, *self.given), daemon=True)
        self.process.start()
        theirs.close()  # so that the pipe closes with the process

    def begin(self, series: Series, attempt: int) -> None:
        if self.process is None:
            self._start()
        self.scan, self.part = (series, attempt), 0.0
        with suppress(OSError):  # it died meanwhile: `hear` reports it
            self.pipe.send(series)

    def hear(self) -> Outcome | None:
        """Receive a message: the outcome of the scan, which has then finished, or None if the process has died.

        A progress message updates `part` and also gives None, but `scan` stays set. After an internal error, a new
        process takes the next scan.
        """
        try:
            message: Outcome | float | None = self.pipe.recv()
        except (EOFError, OSError):
            message = None
        if isinstance(message, float):
            self.part = message
            return None
        self.scan, outcome = None, message
        if outcome is None or outcome.ours:
            self.end()
        return outcome

    def end(self) -> None:
        """End the process; if it is busy, it first removes incomplete results."""
        if self.process is None:
            return
        self.pipe.close()
        if self.scan is not None:
            self.process.terminate()
            self.process.join(_END_S)
        self.process.kill()
        self.process.join()
        self.process = None


def _serve(pipe: Connection, job: Job, device: str, of: int) -> None:
    """Denoise scans from the pipe until it closes. of: number of workers that share the CPU."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent receives it too and ends this process
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(SystemExit))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    engine, results = engine_of(device, of), Results(job.out, job.index)
    while True:
        try:
            series = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(denoise_series(series, job.rules, results, engine, progress=lambda part, *_: pipe.send(float(part))))


def engine_of(device: str, of: int) -> Engine:
    """An engine for a separate process. of: number of processes that share the CPU."""
    import torch

    from bioatt.compute.device import tune_cpu

    tune_cpu()
    torch.set_num_threads(max(1, torch.get_num_threads() // of))
    return Engine(device)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
