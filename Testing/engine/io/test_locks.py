"""Locks between processes."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from bioatt.io.locks import BusyError, locked

HOLD = """
import sys, time
from pathlib import Path
from bioatt.io.locks import locked
with locked(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_has_one_holder_and_leaves_no_file(tmp_path):
    lock = tmp_path / "a.lock"
    with locked(lock, "it"), pytest.raises(BusyError, match="it is in use"), locked(lock, "it"):
        pass
    assert [*tmp_path.iterdir()] == []
    with locked(lock, "it"):
        pass


def test_a_lock_is_free_when_its_holder_was_killed(tmp_path):
    lock = tmp_path / "a.lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BusyError), locked(lock, "it"):
            pass
        holder.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    with locked(lock, "it"):
        pass


def test_a_folder_that_is_missing_is_no_busy_lock(tmp_path):
    with pytest.raises(FileNotFoundError), locked(tmp_path / "gone" / "a.lock", "it"):
        pass
