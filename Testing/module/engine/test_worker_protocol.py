"""The worker follows Docs/worker_protocol.md over a plain pipe, whatever line it reads and however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from places import DOCS, STAND_IN


def test_ready_names_the_real_process(pipe):
    assert pipe.ready["type"] == "ready"
    assert pipe.ready["pid"] == pipe.process.pid
    assert pipe.ready["protocol"] == 1


def test_what_is_half_written_goes_with_its_parent(pipe, tmp_path):
    from bioatt.core.volume import Volume
    from bioatt.io.images import write_volume

    hu = np.random.default_rng(0).integers(-1000, 1000, (3, 16, 16)).astype(np.int16)
    write_volume(Volume(hu), tmp_path / "in.nrrd")
    places = {"volume": {"path": str(tmp_path / "in.nrrd")}, "output": {"path": str(tmp_path / "out.nrrd")}}
    pipe.send(type="denoise", id=1, model="half", **places)
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob(".bioatt-*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    pipe.process.stdin.close()
    assert pipe.process.wait(20) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.nrrd"]


def test_logs_and_messages_name_no_file(pipe):
    result = pipe.denoise(1, "lost")
    assert (result["kind"], result["message"]) == ("internal", "FileNotFoundError: No such file or directory")
    pipe.process.stdin.close()
    log = pipe.process.stderr.read().decode()
    assert "stand_in_worker.py:" in log
    assert "Doe" not in log
    assert str(STAND_IN.parent) not in log


def test_cancel_is_answered_within_a_second(pipe):
    pipe.send(type="denoise", id=1, volume=pipe.array(np.full((100, 8, 8), -900, np.int16)), model="slow")
    assert pipe.read()["type"] == "progress"
    start = time.monotonic()
    pipe.send(type="cancel", request=1)
    answer, _ = pipe.answer(1)
    assert time.monotonic() - start < 1.0
    assert answer["type"] == "error"
    assert answer["kind"] == "cancelled"
    assert pipe.denoise(2, "steady")["type"] == "result"


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        ("memory", "memory"),
        ("full", "disk"),
        ("missing", "install"),
        ("refused", "input"),
        ("fault", "engine"),
        ("unknown", "input"),
    ],
)
def test_a_failure_is_an_answer_and_the_worker_goes_on(pipe, behaviour, kind):
    answer = pipe.denoise(1, behaviour)
    assert answer["type"] == "error"
    assert answer["kind"] == kind
    assert "\n" not in answer["message"]
    assert pipe.denoise(2, "steady")["type"] == "result"


def test_what_libraries_print_does_not_break_the_protocol(pipe):
    assert pipe.denoise(1, "chatty")["type"] == "result"
    assert pipe.denoise(2, "steady")["type"] == "result"
    pipe.process.stdin.close()
    log = pipe.process.stderr.read().decode()
    assert "hello from Python" in log
    assert "hello from a child" in log


@pytest.mark.parametrize(
    "line",
    [
        b"no json\n",
        b"[1, 2]\n",
        b'{"id": 1}\n',
        b'{"type": "dance", "id": 4}\n',
        b'{"type": "denoise"}\n',
        b"\xff\xfe\n",
        b'{"type": [1], "id": 4}\n',
        b'{"type": "hello", "id": NaN}\n',
        b'{"type": "cancel"}\n',
        b'{"type": "cancel", "request": [1]}\n',
        pytest.param(b"[" * 100_000 + b"\n", id="deep"),
    ],
)
def test_an_unreadable_request_is_told_and_survived(pipe, line):
    pipe.process.stdin.write(line)
    pipe.process.stdin.flush()
    answer = pipe.read()
    assert (answer["type"], answer["kind"]) == ("error", "protocol")
    assert pipe.denoise(2, "steady")["type"] == "result"
    pipe.process.stdin.close()
    assert pipe.process.wait(5) == 0, "it listens on: the end of stdin is still noticed"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"type": "dance", "id": 4}\n', "unknown request 'dance'"),
        (b'{"type": "hello", "id": "4"}\n', "hello needs a whole number as id"),
        (b'{"type": "cancel", "request": [1]}\n', "cancel needs a whole number as request"),
    ],
)
def test_what_is_wrong_with_a_request_is_named(pipe, line, words):
    pipe.process.stdin.write(line)
    pipe.process.stdin.flush()
    assert pipe.read()["message"] == words


def test_the_conversation_on_the_page_is_one(pipe):
    requests, replies = ([json.loads(line) for line in block.splitlines()] for block in conversation())
    assert [request["type"] for request in requests] == ["hello", "denoise", "cancel", "quit"]
    assert pipe.ready.keys() == replies[0].keys()
    pipe.send(**requests[0])
    answer, _ = pipe.answer(requests[0]["id"])
    assert (answer["type"], answer.keys()) == ("result", replies[1].keys())
    volume = pipe.array(np.full((100, 8, 8), -900, np.int16))
    place = {"volume": volume, "output": {"path": str(pipe.folder.parent / "out.nrrd")}}
    pipe.send(**{**requests[1], **place, "model": "slow"})
    progress = pipe.read()
    assert (progress["type"], progress.keys()) == ("progress", replies[2].keys())
    pipe.send(**requests[2])
    assert pipe.answer(requests[1]["id"])[0] == replies[3]
    pipe.send(**requests[3])
    assert pipe.process.wait(5) == 0


def conversation() -> list[str]:
    """The page's request and reply blocks."""
    page = DOCS / "worker_protocol.md"
    return [block for block in page.read_text(encoding="utf-8").split("```\n")[1::2] if block.startswith("{")]


@pytest.mark.parametrize("model", ["steady", "stubborn"])
def test_the_worker_ends_and_cleans_up_when_its_parent_is_gone(pipe, model):
    pipe.send(type="denoise", id=1, volume=pipe.array(np.full((100, 8, 8), -900, np.int16)), model=model)
    pipe.process.stdin.close()
    assert pipe.process.wait(3) == 0
    assert not pipe.folder.exists()


def test_quit_ends_the_worker(pipe):
    pipe.send(type="quit")
    assert pipe.process.wait(3) == 0


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_the_worker_dies_with_a_parent_that_is_killed(tmp_path, alive):
    """The parent gets SIGKILL, so it cannot close the pipe itself."""
    folder = tmp_path / "private"
    folder.mkdir()
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys, time\n"
            f"command = [sys.executable, {str(STAND_IN)!r}, {str(folder)!r}]\n"
            "p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
            "p.stdout.readline(); print(p.pid, flush=True); time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
    )
    worker = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 5
    while (folder.exists() or alive(worker)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.exists()
    assert not alive(worker)
