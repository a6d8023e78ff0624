"""Batches on Ray: each scan once, also when a worker is killed."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from bioatt.core.errors import InputError
from bioatt.service.finding import find_series
from bioatt.service.on_ray import run_on_ray
from bioatt.service.workers import Job


@pytest.fixture
def job(rule, tmp_path):
    return Job((rule(tmp_path),), tmp_path / "out")


def test_without_ray_the_extra_is_named(tree, job, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'bioatt\[ray\]'"):
        next(run_on_ray(find_series(tree).series, job, ["cpu"]))


def test_a_killed_worker_costs_no_scan_and_no_scan_is_done_twice(tree, job, series_writer):
    """A local cluster of two workers; one is killed after the first scan, while it may be in the middle of another."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'bioatt[ray]'")
    for number in range(2):
        series_writer.write_series(tree / f"more{number}", series_writer.ct_like(3, 32, 32, seed=9 + number))
    found, ended, killed = find_series(tree).series, [], []
    try:
        for outcome in run_on_ray(found, job, ["cpu", "cpu"]):
            ended.append(outcome)
            if len(ended) == 1:
                killed = _busy_workers()
                os.kill(killed[0], getattr(signal, "SIGKILL", signal.SIGTERM))
    except InputError as error:
        if "timed out during startup" in str(error):
            pytest.skip("this machine is too busy for Ray to start within its own limit")
        raise
    assert killed
    assert sorted(outcome.name for outcome in ended) == [series.name for series in found]
    assert {outcome.status for outcome in ended} <= {"done", "done before"}
    manifests = {outcome.folder: outcome.manifest["key"] for outcome in ended}
    assert len(manifests) == len(set(manifests.values())) == len(found)
    assert not [path for path in (job.out / ".bioatt").iterdir() if path.is_dir()]


def _busy_workers() -> list[int]:
    """Process ids of Ray's workers on this machine, by the name that Ray gives them while a task runs."""
    found = []
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as stream:
                line = stream.read()
            if name.isdigit() and line.startswith(b"ray::_denoise"):
                found.append(int(name))
        except OSError:
            continue
    return found
