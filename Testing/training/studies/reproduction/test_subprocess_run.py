"""A subprocess returns its result, reports a failure in one line, and writes its output to the log."""

from __future__ import annotations

import os

import pytest

from bioatt_training.studies.reproduction.subprocess_run import RunError, run_in_subprocess


def test_results_failures_and_deaths(tmp_path):
    log = tmp_path / "log.txt"
    assert run_in_subprocess(divmod, 7, 2, log=log) == (3, 1)
    run_in_subprocess(print, "said in there", log=log)
    with pytest.raises(RunError, match="ValueError: invalid literal"):
        run_in_subprocess(int, "x", log=log)
    with pytest.raises(RunError, match="status 3"):
        run_in_subprocess(os._exit, 3, log=log)
    assert "said in there" in log.read_text()
    assert "Traceback" in log.read_text()
