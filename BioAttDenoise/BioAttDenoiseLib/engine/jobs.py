"""The one queue of jobs for the engine's process: what runs, what waits and what may interrupt. Jobs are submitted from
the main thread and answered through callbacks on the main thread by `poll()`.

Knows neither Qt nor MRML. The process is started with the first job and kept; when it dies, the job that ran fails with
a message a clinician understands, and the next job starts a new one.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any, Protocol

from .errors import EngineError, _, hint
from .job import Job, Kind, Phase, Request, Stage
from .process import EngineGoneError, EngineProcess

CANCEL_PATIENCE_S = 0.7
"""How long a cancelled job may take to end by itself before the process is ended by force."""

LAUNCHER_WORDS = "exit abnormally"
"""What PythonSlicer, a launcher, says last when the interpreter was killed; it then exits with 1. A crash of the
interpreter reads the same.
"""


class Gate(Protocol):
    """Says whether a job that `needs` something may start (see `readiness.Readiness`)."""

    installing: bool

    def passes(self, job: Job) -> bool:
        """Whether it may start now; else finds out by `JobQueue.ask`, after which the queue asks again."""


class JobQueue:
    """One job runs, one waits. What may wait, and for what:

    - a job waits while background work runs;
    - a preview, or the measuring of noise for a strength, waits for whatever runs, the newest only;
    - anything else cancels one of those that runs, and is refused while maps, organs, a denoising or file work runs;
    - a job takes the place of one that waits, unless that one is more important.

    make_process() starts a process; it raises EngineGoneError where it cannot, OSError where there is no place for its
    files. on_change() is called when a job was accepted, cancelled or has ended.
    """

    def __init__(self, make_process: Callable[[], EngineProcess]) -> None:
        self.make_process = make_process
        self.process: EngineProcess | None = None
        self.running: Job | None = None
        self.waiting: Job | None = None
        self.gate: Gate | None = None
        self.on_change: Callable[[], None] = lambda: None
        self.old_log: list[str] = []

    @property
    def busy(self) -> bool:
        """Whether a job runs or waits."""
        return self.running is not None or self.waiting is not None

    @property
    def checking(self) -> bool:
        """Whether background work runs."""
        return self.running is not None and self.running.kind is Kind.BACKGROUND

    def find(self, kind: Kind) -> Job | None:
        """The job of a kind that runs or waits."""
        return next((job for job in (self.running, self.waiting) if job is not None and job.kind is kind), None)

    @property
    def phase(self) -> Phase:
        """How far the denoising or file job is."""
        job = self.find(Kind.DENOISE) or self.find(Kind.FILES)
        if job is None:
            return Phase.IDLE
        if job is self.waiting:
            return Phase.PREPARING
        return Phase.RUNNING if job.cancelled_at is None else Phase.CANCELLING

    @property
    def log(self) -> str:
        """What the processes wrote on stderr, newest last."""
        return "\n".join([*self.old_log, *(self.process.log if self.process is not None else ())])

    def submit(
        self,
        kind: Kind,
        request: Request | None,
        *,
        on_result: Callable[[dict[str, Any]], None],
        on_error: Callable[[Exception], None],
        on_cancelled: Callable[[], None] = lambda: None,
        on_progress: Callable[[dict[str, Any]], None] = lambda message: None,
        needs: str | None = None,
        install: bool = False,
    ) -> Job:
        """Start a job, or let it wait. Raises EngineError where it is refused or the process cannot be started."""
        if needs is not None and self.gate is not None and self.gate.installing:
            raise EngineError("input", _("Packages are being installed. Wait until that has ended."))
        self.make_room(kind)
        job = Job(kind, request, on_result, on_error, on_cancelled, on_progress, needs, install)
        if self.running is None and needs is None:
            self._run(job)
        else:
            self.waiting = job
            if self.running is not None and self.running.kind.yields and not kind.yields:
                self._cancel_running()
            self._advance()
        self.on_change()
        return job

    def make_room(self, kind: Kind) -> None:
        """Cancel what waits, for a job of a kind. Raises EngineError where that is refused."""
        for job in (self.running, self.waiting):
            if job is not None and _blocks(job, job is self.waiting, kind):
                raise EngineError("input", _busy_text(job.kind))
        self.drop()

    def drop(self) -> None:
        """Cancel the job that waits; what is found out for it in the background is still taken in."""
        job, self.waiting = self.waiting, None
        if job is not None:
            job.on_cancelled()
            self.on_change()

    def fail(self, error: Exception) -> None:
        """End the job that waits with an error."""
        job, self.waiting = self.waiting, None
        if job is not None:
            job.on_error(error)

    def cancel(self, kind: Kind | None = None) -> None:
        """End the job of a kind, or the most important one: politely first, by force when it does not react."""
        jobs = [job for job in (self.waiting, self.running) if job is not None]
        job = self.find(kind) if kind is not None else max(jobs, key=lambda job: job.kind.rank, default=None)
        if job is None:
            return
        if job is self.waiting:
            self.drop()
        else:
            self._cancel_running()
            self.on_change()

    def ask(
        self,
        request: Request,
        on_result: Callable[[dict[str, Any]], None],
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        """Background work for the job that waits, which otherwise fails with it. Only while nothing runs."""
        job = Job(Kind.BACKGROUND, request, on_result, on_error or self.fail, self.drop, lambda message: None)
        try:
            self._run(job)
        except EngineError as error:
            self.fail(error)

    def poll(self) -> None:
        """Bring what has come from the process to the callbacks. Call it often from the main thread."""
        process = self.process
        for message in process.messages() if process is not None else ():
            if self.process is not process:  # a callback has begun with another, or ended it
                break
            self._handle(message)
        job = self.running
        if job is not None and job.cancelled_at is not None and time.monotonic() - job.cancelled_at > CANCEL_PATIENCE_S:
            self.restart()
            self._finish(job, job.on_cancelled)

    def restart(self) -> None:
        """End the process by force; the next job starts a new one."""
        self._drop_process(kill=True)

    def stop(self) -> None:
        """End everything, without callbacks."""
        self.running = self.waiting = None
        if self.process is not None:
            self.process.stop()
            self._drop_process()

    def _advance(self) -> None:
        """Start the job that waits, when nothing runs and what it needs is there."""
        while self.running is None and self.waiting is not None:
            job = self.waiting
            if self.gate is not None and not self.gate.passes(job):
                if self.waiting is job:
                    return  # it is being found out
                continue
            self.waiting = None
            if job.request is None:
                job.on_result({})
                continue
            try:
                self._run(job)
            except EngineError as error:
                job.on_error(error)

    def _run(self, job: Job) -> None:
        process, request = self._ensure_process(), job.request
        assert request is not None, "a job that only waits is not run"
        self.running = job
        arrays = request.arrays()
        if not arrays:
            self._send(job)
            return
        job.stage = Stage.SENDING
        job.files = [f"volume-{time.monotonic_ns()}-{number}.npy" for number in range(len(arrays))]

        def save() -> None:
            for name, array in zip(job.files, arrays, strict=True):
                process.save(name, array)

        process.run_in_background(save, id(job))

    def _cancel_running(self) -> None:
        job = self.running
        if job is None or job.cancelled_at is not None:
            return
        job.cancelled_at = time.monotonic()
        if job.identity is not None and self.process is not None:
            with contextlib.suppress(EngineGoneError):  # then `gone` is on its way
                self.process.cancel(job.identity)

    def _ensure_process(self) -> EngineProcess:
        if self.process is not None and not self.process.running:
            self._drop_process()
        if self.process is None:
            try:
                self.process = self.make_process()
            except EngineGoneError as error:
                raise EngineError("install", f"{error}. {hint('install')}") from None
            except OSError as error:
                text = _("No folder for temporary files can be made: {problem}.").format(problem=error.strerror)
                raise EngineError("disk", f"{text} {hint('disk')}") from None
        return self.process

    def _send(self, job: Job) -> None:
        assert job.request is not None
        assert self.process is not None
        fields = job.request.named(job.files)
        with contextlib.suppress(EngineGoneError):  # then the message `gone` ends the job
            job.identity = self.process.request(job.request.kind, **fields)
        job.stage = Stage.STARTING
        self.on_change()

    def _handle(self, message: dict[str, Any]) -> None:
        job, kind = self.running, message["type"]
        if kind == "gone":
            self._gone(message["exit"])
        elif job is None:
            return
        elif kind == "prepared" and message["token"] == id(job):
            self._prepared(job, message)
        elif message.get("id") != job.identity or job.identity is None:
            return
        elif kind == "progress":
            job.stage = None
            if job.cancelled_at is None:
                job.on_progress(message)
        elif kind == "result":
            self._finish(job, job.on_cancelled if job.cancelled_at is not None else lambda: job.on_result(message))
        elif kind == "error":
            self._failed(job, message["kind"], message["message"])

    def _prepared(self, job: Job, message: dict[str, Any]) -> None:
        error = message.get("error")
        if job.cancelled_at is not None:
            self._finish(job, job.on_cancelled)
        elif isinstance(error, OSError):
            self._failed(job, "disk", error.strerror or _("the file could not be written"))
        elif error is not None:
            self._failed(job, "internal", f"{type(error).__name__}: {error}")
        else:
            self._send(job)

    def _failed(self, job: Job, kind: str, message: str) -> None:
        if kind == "cancelled" or job.cancelled_at is not None:
            self._finish(job, job.on_cancelled)
            return
        sentence = message[:1].upper() + message[1:].rstrip(".") + "."
        self._finish(job, lambda: job.on_error(EngineError(kind, f"{sentence}\n{hint(kind)}".strip())))

    def _gone(self, exit_code: int | None) -> None:
        job = self.running
        killed = _was_killed(exit_code, list(self.process.log) if self.process is not None else [])
        self._drop_process()
        if job is None:
            return
        kind = "killed" if killed else "crash"
        cancelled = job.cancelled_at is not None
        self._finish(job, job.on_cancelled if cancelled else lambda: job.on_error(EngineError(kind, hint(kind))))

    def _finish(self, job: Job, callback: Callable[[], None]) -> None:
        self.running = None  # before the callback: it may submit the next job
        for name in job.files if self.process is not None else ():
            self.process.remove(name)
        callback()
        self._advance()
        self.on_change()

    def _drop_process(self, kill: bool = False) -> None:
        if self.process is not None:
            self.old_log = [*self.old_log, *self.process.log][-500:]
            if kill:
                self.process.kill()
            else:
                self.process.discard()
            self.process = None


def _busy_text(kind: Kind) -> str:
    """Why another job cannot begin, by the kind of the one that is in the way."""
    if kind is Kind.MAPS:
        return _("Attention maps are being computed. Wait until they are ready, or press Cancel.")
    if kind is Kind.ORGANS:
        return _("Organs are being measured. Wait until that is done, or press Cancel.")
    if kind is Kind.FILES:
        return _("A folder is being denoised, or files of a model are being changed. Wait, or press Cancel.")
    return _("A denoising is already running. Wait for it, or press Cancel.")


def _blocks(job: Job, waits: bool, kind: Kind) -> bool:
    """Whether a job stands in the way of one of another kind."""
    if waits:
        return job.kind.rank > kind.rank
    return not (job.kind is Kind.BACKGROUND or job.kind.yields or kind.yields)


def _was_killed(exit_code: int | None, log: list[str]) -> bool:
    """Whether the system ended the process by force, which it does where memory runs out."""
    if exit_code in (-9, 137):
        return True
    return os.name != "nt" and exit_code == 1 and any(LAUNCHER_WORDS in line for line in log[-5:])
