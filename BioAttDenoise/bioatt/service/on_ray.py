"""Scans as Ray tasks, on this machine or on a cluster whose machines share the input and output folders."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from functools import lru_cache
from typing import Any

from bioatt.core.errors import InputError
from bioatt.service.finding import Series
from bioatt.service.results import Results
from bioatt.service.studies import FAILED, Engine, Outcome, denoise_series
from bioatt.service.workers import ATTEMPTS, Job, engine_of

ADDRESS = "RAY_ADDRESS"
"""Ray's own variable for the cluster to join; without it, a local one is started and stopped again."""


def run_on_ray(series: Sequence[Series], job: Job, devices: Sequence[str]) -> Generator[Outcome, None, None]:
    """Yield the outcome of each scan as it finishes; without a cluster, at most one scan per device runs at a time.

    Ray retries a task once if its process or machine is lost; results already published are recognised and not computed
    again. Raises InputError if Ray is not installed or the cluster cannot be reached.
    """
    ray = _ray()
    gpu = devices[0].startswith("cuda")
    _join(ray, len(devices), gpu)
    try:
        options = {"max_retries": ATTEMPTS - 1, "num_cpus": 1, "num_gpus": int(gpu)}
        task = ray.remote(**options)(_denoise)
        shared = ray.put(job)
        names = {task.remote(one, shared, "cuda" if gpu else devices[0]): one.name for one in series}
        while names:
            (ready,), _ = ray.wait([*names], num_returns=1)
            name = names.pop(ready)
            try:
                yield ray.get(ready)
            except ray.exceptions.RayError as error:
                yield Outcome(name, FAILED, f"lost its process or machine {ATTEMPTS} times ({type(error).__name__})")
    finally:
        ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise InputError("--engine ray needs Ray: pip install 'bioatt[ray]'") from error
    return ray


def _join(ray: Any, workers: int, gpu: bool) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # disables Ray's usage statistics
    local = {} if os.environ.get(ADDRESS) else {"num_cpus": workers, "num_gpus": workers * gpu}
    try:
        ray.init(include_dashboard=False if local else None, log_to_driver=False, logging_level="ERROR", **local)
    except Exception as error:  # Ray raises plain Exception if its processes do not start in time
        what = " ".join(str(error).split())[:200]
        raise InputError(
            f"Ray did not start or cannot be reached ({what}): check {ADDRESS}, or --engine local"
        ) from None


def _denoise(series: Series, job: Job, device: str) -> Outcome:
    return denoise_series(series, job.rules, Results(job.out, job.index), _engine(device))


@lru_cache(maxsize=1)
def _engine(device: str) -> Engine:
    """Engine of a process, kept for its next task; Ray assigns each process its share of CPUs and GPUs."""
    return engine_of(device, 1)
