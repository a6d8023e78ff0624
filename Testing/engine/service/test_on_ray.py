"""Batches on Ray: each scan is done once, even if a worker is killed."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from bioatt.core.errors import InputError
from bioatt.service.finding import find_series
from bioatt.service.on_ray import ADDRESS, run_on_ray
from bioatt.service.workers import Job


@pytest.fixture
def job(rule, tmp_path):
    return Job((rule(tmp_path),), tmp_path / "out")


def test_without_ray_the_extra_is_named(tree, job, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'bioatt\[ray\]'"):
        next(run_on_ray(find_series(tree).series, job, ["cpu"]))


@pytest.fixture
def ray(tmp_path, monkeypatch):
    """Ray, with processes that start within its limit of 15 s.

    Each process imports jsonschema, which imports rfc3987_syntax if the extra `sbom` is installed. That package spends
    several seconds compiling a grammar, so it is hidden here.
    """
    pytest.importorskip("ray", reason="needs Ray: pip install 'bioatt[ray]'")
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "rfc3987_syntax.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"), prepend=os.pathsep)


@pytest.fixture
def scans(tree, series_writer):
    for number in range(2):
        series_writer.write_series(tree / f"more{number}", series_writer.ct_like(3, 32, 32, seed=9 + number))
    return find_series(tree).series


def check_each_done_once(scans, ended, job):
    assert sorted(outcome.name for outcome in ended) == [series.name for series in scans]
    assert {outcome.status for outcome in ended} <= {"done", "done before"}
    keys = {outcome.folder: outcome.manifest["key"] for outcome in ended}
    assert len(keys) == len(set(keys.values())) == len(scans)
    assert not [path for path in (job.out / ".bioatt").iterdir() if path.is_dir()]


@pytest.mark.usefixtures("ray")
def test_a_killed_worker_costs_no_scan_and_no_scan_is_done_twice(scans, job):
    """A local cluster of two workers; one is killed after the first scan, in the middle of another."""
    ended = []
    for outcome in run_on_ray(scans, job, ["cpu", "cpu"]):
        ended.append(outcome)
        if len(ended) == 1:
            os.kill(_busy_worker(), getattr(signal, "SIGKILL", signal.SIGTERM))
    check_each_done_once(scans, ended, job)


@pytest.mark.usefixtures("ray")
def test_a_lost_machine_costs_no_scan_and_no_scan_is_done_twice(scans, job, monkeypatch):
    """A cluster of two machines, simulated by two groups of processes; one is lost after the first scan."""
    from ray.cluster_utils import Cluster

    cluster, ended = Cluster(initialize_head=True, head_node_args={"num_cpus": 1}), []
    try:
        machine = cluster.add_node(num_cpus=1)
        monkeypatch.setenv(ADDRESS, cluster.address)
        for outcome in run_on_ray(scans, job, ["cpu"]):
            ended.append(outcome)
            if len(ended) == 1:
                cluster.remove_node(machine, allow_graceful=False)
    finally:
        cluster.shutdown()
    check_each_done_once(scans, ended, job)


def _busy_worker() -> int:
    """The process ID of a worker on this machine, found by the name that Ray gives it during a task."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if line.read_bytes().startswith(b"ray::_denoise"):
                    return int(line.parent.name)
    raise AssertionError("no worker denoises")
