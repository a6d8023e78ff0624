"""Jobs and the engine's process without Slicer: results, failures, cancelling and cleaning up."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from places import STAND_IN

from BioAttDenoiseLib.engine.errors import EngineError
from BioAttDenoiseLib.engine.job import Kind, Phase, Request
from BioAttDenoiseLib.engine.jobs import JobQueue
from BioAttDenoiseLib.engine.process import START_WORKER, EngineGoneError, EngineProcess, cleaning_up

GEOMETRY = {"spacing": [1, 1, 1], "origin": [0, 0, 0], "direction": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}


class Recorder:
    """A job queue that records its outcomes."""

    def __init__(self, temporary: Path) -> None:
        self.temporary = temporary
        self.python, self.script = sys.executable, STAND_IN
        self.started: list[EngineProcess] = []
        self.outcomes: list = []
        self.progress: list = []
        self.jobs = JobQueue(self.make)

    def make(self) -> EngineProcess:
        process = EngineProcess(self.python, script=self.script, temporary=str(self.temporary))
        self.started.append(process)
        return process

    def denoise(self, model: str, slices: int = 6, kind: Kind = Kind.DENOISE, array=None, name: str = "") -> None:
        """Submit a job; its outcome is appended to `outcomes`, as (name, outcome) if it has a name."""
        hu = np.full((slices, 8, 8), -900, np.int16) if array is None else array

        def keep(outcome) -> None:
            self.outcomes.append((name, outcome) if name else outcome)

        self.jobs.submit(
            kind,
            Request("denoise", {"volume": {**GEOMETRY, "array": hu}, "model": model, "strength": 1.0}),
            on_result=keep,
            on_error=keep,
            on_cancelled=lambda: keep("cancelled"),
            on_progress=self.progress.append,
        )

    def wait(self, condition=None, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not (condition() if condition else not self.jobs.busy):
            assert time.monotonic() < deadline, "waited in vain"
            self.jobs.poll()
            time.sleep(0.005)

    def outcome(self):
        self.wait()
        assert len(self.outcomes) == 1
        return self.outcomes.pop()


@pytest.fixture
def recorder(tmp_path):
    made = Recorder(tmp_path)
    yield made
    made.jobs.stop()


def test_the_process_stays_for_the_next_job(recorder, tmp_path):
    for _ in range(3):
        recorder.denoise("steady")
        result = recorder.outcome()
        np.testing.assert_array_equal(result["array"], np.full((6, 8, 8), -920))
    assert len(recorder.started) == 1
    assert list(recorder.started[0].folder.iterdir()) == [], "no voxels are left"


@pytest.mark.parametrize(
    ("behaviour", "kind", "words"),
    [
        ("memory", "memory", "smaller tile"),
        ("full", "disk", "Free some space"),
        ("missing", "install", "Check installation"),
        ("refused", "input", "is empty"),
        ("crash", "crash", "press Denoise to try again"),
        ("killed", "killed", "ended by the operating system"),
    ],
)
def test_a_failure_reads_well_and_the_next_job_works(recorder, behaviour, kind, words):
    recorder.denoise(behaviour)
    error = recorder.outcome()
    assert isinstance(error, EngineError)
    assert error.kind == kind
    assert words in str(error)
    recorder.denoise("steady")
    assert recorder.outcome()["type"] == "result"


@pytest.mark.parametrize(
    ("failure", "kind", "words"),
    [
        (MemoryError("Unable to allocate 1.2 GiB"), "memory", "close volumes you no longer need"),
        (ValueError("cannot reshape array"), "internal", "The result cannot be read"),
        (EOFError("No data left in file"), "internal", "The result cannot be read"),
        (OSError(5, "Input/output error"), "disk", "Input/output error"),
    ],
)
def test_a_result_that_cannot_be_read_ends_its_job(recorder, monkeypatch, failure, kind, words):
    def load(path):
        raise failure

    monkeypatch.setattr(np, "load", load)
    recorder.denoise("steady")
    error = recorder.outcome()
    assert error.kind == kind
    assert words in str(error)
    assert list(recorder.started[0].folder.iterdir()) == [], "an array that nobody reads"
    monkeypatch.undo()
    recorder.denoise("steady")
    assert recorder.outcome()["type"] == "result"
    assert len(recorder.started) == 1


def test_a_process_whose_replies_can_no_longer_be_read_is_ended(recorder, tmp_path, monkeypatch):
    def loads(line):
        raise MemoryError

    monkeypatch.setattr(json, "loads", loads)
    recorder.denoise("stubborn", slices=200)
    error = recorder.outcome()
    assert error.kind == ("crash" if os.name == "nt" else "killed")
    assert "replies can no longer be read: MemoryError" in recorder.jobs.log
    recorder.wait(lambda: not list(tmp_path.iterdir()), seconds=10)
    assert not recorder.started[0].running


def test_a_job_begun_by_the_last_result_of_a_process_is_left_alone_by_its_end(recorder, tmp_path):
    """As in a batch: the next volume is submitted while the old process's `gone` is queued behind its result."""
    recorder.script = tmp_path / "once.py"
    recorder.script.write_text(
        "import json, sys\n"
        "identity = json.loads(sys.stdin.readline())['id']\n"
        "print(json.dumps({'type': 'result', 'id': identity}), flush=True)\n"
    )

    def go_on(result: dict) -> None:
        recorder.script = STAND_IN
        recorder.denoise("steady")

    recorder.jobs.submit(Kind.BACKGROUND, Request("hello"), on_result=go_on, on_error=recorder.outcomes.append)
    recorder.started[0]._reply_reader.join(20)
    assert recorder.outcome()["type"] == "result"
    assert recorder.jobs.process is recorder.started[1]
    assert recorder.started[1].running
    recorder.wait(lambda: not cleaning_up(), seconds=10)
    recorder.jobs.stop()
    assert [path.name for path in tmp_path.iterdir()] == ["once.py"]


@pytest.fixture
def launcher(tmp_path):
    """Like PythonSlicer, a program that starts the interpreter and exits with 1 if a signal ends it."""
    file = tmp_path / "launcher"
    file.write_text(
        f'#!/bin/sh\nexec 3<&0\n"{sys.executable}" "$@" <&3 &\nwait $!\ncode=$?\n[ $code -lt 128 ] && exit $code\n'
        'echo "error: [/opt/Slicer/bin/python-real] exit abnormally - Report the problem." >&2\nexit 1\n'
    )
    file.chmod(0o755)
    return str(file)


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(
    ("behaviour", "kind", "words"),
    [("killed", "killed", "ended by the operating system"), ("crash", "crash", "press Denoise to try again")],
)
def test_behind_the_launcher_too_a_process_that_the_system_killed_is_known(recorder, launcher, behaviour, kind, words):
    recorder.python = launcher
    recorder.denoise(behaviour)
    error = recorder.outcome()
    assert error.kind == kind
    assert words in str(error)


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_process_that_exits_with_1_by_itself_was_not_killed(recorder, tmp_path):
    worker = tmp_path / "worker"
    worker.write_text("#!/bin/sh\necho 'no module named numpy' >&2\nexit 1\n")
    worker.chmod(0o755)
    recorder.python = str(worker)
    recorder.denoise("steady")
    assert recorder.outcome().kind == "crash"


@pytest.mark.skipif(os.name == "nt", reason="process groups")
def test_cancel_ends_a_process_that_has_ended_already(recorder, tmp_path, monkeypatch):
    """macOS raises PermissionError for a process group that contains only zombies."""
    end_group = os.killpg

    def killpg(group: int, number: int) -> None:
        end_group(group, number)
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "killpg", killpg)
    recorder.denoise("stubborn", slices=200)
    recorder.wait(lambda: recorder.progress)
    recorder.jobs.cancel()
    assert recorder.outcome() == "cancelled"
    recorder.wait(lambda: not list(tmp_path.iterdir()), seconds=10)


def test_stages_are_told_before_the_first_slice(recorder):
    stages = []
    recorder.jobs.on_change = lambda: stages.append(recorder.jobs.running and recorder.jobs.running.stage)
    recorder.denoise("steady")
    recorder.outcome()
    assert [stage.value for stage in stages if stage is not None] == ["sending", "starting"]


@pytest.mark.parametrize("behaviour", ["slow", "stubborn"])
def test_cancel_takes_less_than_a_second(recorder, behaviour):
    recorder.denoise(behaviour, slices=200)
    recorder.wait(lambda: recorder.progress)
    start = time.monotonic()
    recorder.jobs.cancel()
    assert recorder.outcome() == "cancelled"
    assert time.monotonic() - start < 1.0
    recorder.denoise("steady")
    assert recorder.outcome()["type"] == "result"
    assert len(recorder.started) == (1 if behaviour == "slow" else 2), "a worker that reacts is kept"


def test_a_result_that_arrives_after_cancel_is_dropped(recorder):
    recorder.denoise("steady")
    recorder.wait(lambda: recorder.jobs.running.identity is not None)
    process, arrived = recorder.started[0], []
    receive = process.messages
    while not any(message["type"] == "result" for message in arrived):
        arrived += receive()
        time.sleep(0.005)
    recorder.jobs.cancel()
    process.messages = lambda: [arrived.pop(0)] if arrived else receive()
    assert recorder.outcome() == "cancelled"
    assert not arrived


def test_cancel_before_anything_was_sent(recorder):
    recorder.denoise("steady", slices=2000)
    recorder.jobs.cancel()
    assert recorder.outcome() == "cancelled"


def test_denoise_cancels_a_preview_and_waits_for_its_end(recorder):
    recorder.denoise("slow", slices=60, kind=Kind.PREVIEW, name="preview")
    recorder.denoise("steady", name="denoise")
    assert recorder.jobs.phase is Phase.PREPARING
    recorder.wait()
    assert [name for name, _outcome in recorder.outcomes] == ["preview", "denoise"]
    assert recorder.outcomes[0][1] == "cancelled"
    assert recorder.outcomes[1][1]["type"] == "result"


def test_of_previews_the_newest_waits(recorder):
    for name in ("first", "second", "third"):
        recorder.denoise("slow", kind=Kind.PREVIEW, name=name)
    assert recorder.outcomes == [("second", "cancelled")]
    recorder.wait()
    assert [name for name, _outcome in recorder.outcomes] == ["second", "first", "third"]
    assert [outcome["type"] for _name, outcome in recorder.outcomes[1:]] == ["result", "result"]


@pytest.mark.parametrize("kind", [Kind.MAPS, Kind.FILES])
def test_what_runs_in_the_foreground_is_not_displaced(recorder, kind):
    recorder.denoise("slow", kind=kind, name="first")
    with pytest.raises(EngineError, match="Attention maps are being computed" if kind is Kind.MAPS else "A folder"):
        recorder.denoise("steady", name="second")
    recorder.wait()
    assert [(name, outcome["type"]) for name, outcome in recorder.outcomes] == [("first", "result")]


def test_a_preview_does_not_take_the_place_of_a_denoising_that_waits(recorder):
    recorder.jobs.submit(Kind.BACKGROUND, Request("hello"), on_result=lambda reply: None, on_error=print)
    recorder.denoise("steady", name="denoise")
    with pytest.raises(EngineError, match="already running"):
        recorder.denoise("steady", kind=Kind.PREVIEW, name="preview")
    recorder.wait()
    assert [name for name, _outcome in recorder.outcomes] == ["denoise"]


def test_cancel_takes_what_the_user_waits_for_and_leaves_background_work(recorder):
    found = []
    recorder.jobs.submit(Kind.BACKGROUND, Request("hello"), on_result=found.append, on_error=print)
    recorder.denoise("steady")
    recorder.jobs.cancel()
    assert recorder.outcomes == ["cancelled"]
    recorder.wait(lambda: found)
    assert not recorder.jobs.busy


def test_a_second_job_is_refused_while_one_runs(recorder):
    recorder.denoise("slow", slices=20)
    with pytest.raises(EngineError, match="already running"):
        recorder.denoise("steady")
    assert recorder.outcome()["type"] == "result"


def test_a_full_disk_on_our_side(recorder, monkeypatch):
    """Writing to /dev/full raises the operating system's own "no space left" error."""
    save = EngineProcess.save

    def onto_a_full_disk(process: EngineProcess, name: str, array: np.ndarray) -> str:
        (process.folder / name).symlink_to("/dev/full")
        return save(process, name, array)

    monkeypatch.setattr(EngineProcess, "save", onto_a_full_disk)
    recorder.denoise("steady", array=np.zeros((4, 64, 64), np.int16))
    error = recorder.outcome()
    assert error.kind == "disk"
    assert "Free some space" in str(error)


def test_killed_from_outside_while_idle(recorder):
    recorder.denoise("steady")
    recorder.outcome()
    recorder.started[0].kill()
    recorder.wait(lambda: not recorder.started[0].running)
    recorder.denoise("steady")
    assert recorder.outcome()["type"] == "result"
    assert len(recorder.started) == 2


def test_stop_leaves_nothing_behind(recorder, tmp_path, alive):
    recorder.denoise("stubborn", slices=200)
    recorder.wait(lambda: recorder.progress)
    pid = recorder.started[0].pid
    start = time.monotonic()
    recorder.jobs.stop()
    assert time.monotonic() - start < 2
    assert not list(tmp_path.iterdir())
    assert not alive(pid)
    assert recorder.outcomes == []


@pytest.mark.skipif(os.name == "nt", reason="process groups")
def test_the_whole_tree_is_ended(tmp_path, alive, launcher):
    """PythonSlicer is a launcher: the interpreter is its child and must not outlive it."""
    process = EngineProcess(launcher, script=STAND_IN, temporary=str(tmp_path))
    deadline = time.monotonic() + 20
    while process.pid is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.pid != process._process.pid
    assert alive(process.pid)
    process.kill()
    while alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(process.pid)


def test_an_interpreter_that_is_not_there(tmp_path):
    with pytest.raises(EngineGoneError, match="cannot be started"):
        EngineProcess(str(tmp_path / "PythonSlicer"), temporary=str(tmp_path))
    assert list(tmp_path.iterdir()) == [], "no folder is left behind"


def test_no_place_for_temporary_files_is_told_as_such(tmp_path):
    jobs = JobQueue(lambda: EngineProcess(sys.executable, script=STAND_IN, temporary=str(tmp_path / "gone")))
    with pytest.raises(
        EngineError, match=r"^Cannot create a folder for temporary files: .*\. The disk is full"
    ) as told:
        jobs.submit(Kind.BACKGROUND, Request("check"), on_result=print, on_error=print)
    assert told.value.kind == "disk"


def test_the_log_keeps_the_last_words_of_a_dead_process(recorder):
    recorder.denoise("chatty")
    recorder.outcome()
    recorder.denoise("crash")
    recorder.outcome()
    assert "hello from a child" in recorder.jobs.log


def test_the_real_start_up_file_finds_the_engine(tmp_path):
    process = EngineProcess(sys.executable, script=START_WORKER, temporary=str(tmp_path))
    try:
        deadline = time.monotonic() + 30
        messages = []
        while not messages and time.monotonic() < deadline:
            messages = process.messages()
            time.sleep(0.01)
        assert messages[0]["type"] == "ready"
        assert messages[0]["pid"] == process.pid
    finally:
        process.stop()
