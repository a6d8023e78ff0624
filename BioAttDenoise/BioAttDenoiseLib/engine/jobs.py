"""The job queue of the engine process: what runs, what waits and what may interrupt. Jobs are submitted from the main
thread; `poll()` calls their callbacks on the main thread.

Independent of Qt and MRML. The process starts with the first job and is kept; if it dies, the running job fails with a
message a clinician understands, and the next job starts a new process.
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
"""Grace period for a cancelled job before the process is killed."""

LAUNCHER_WORDS = "exit abnormally"
"""Last line written by PythonSlicer, a launcher, when the interpreter was killed; it then exits with 1. A crash of the
interpreter looks the same.
"""


class Gate(Protocol):
    """Decides whether a job that `needs` something may start (see `readiness.Readiness`)."""

    installing: bool

    def passes(self, job: Job) -> bool:
        """Whether it may start now; otherwise checks through `JobQueue.ask`, after which the queue calls this again."""


class JobQueue:
    """One job runs, one waits:

    - any job waits while background work runs;
    - a preview or a noise measurement waits for any running job; only the newest is kept;
    - any other job cancels a running preview or noise measurement, and is refused while maps, organs, a denoising or
      file work runs;
    - a job replaces the waiting one, unless that one has a higher rank.

    make_process() starts a process; it raises EngineGoneError if it cannot, OSError if its folder cannot be created.
    on_change() is called when a job is accepted, is cancelled or ends.
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
        """Progress of the denoising or file job."""
        job = self.find(Kind.DENOISE) or self.find(Kind.FILES)
        if job is None:
            return Phase.IDLE
        if job is self.waiting:
            return Phase.PREPARING
        return Phase.RUNNING if job.cancelled_at is None else Phase.CANCELLING

    @property
    def log(self) -> str:
        """Lines the processes wrote to stderr, newest last."""
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
        """Start or queue a job. Raises EngineError if it is refused or the process cannot be started."""
        if needs is not None and self.gate is not None and self.gate.installing:
            raise EngineError("input", _("Packages are being installed. Wait until the installation has finished."))
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
        """Cancel the waiting job in favor of one of a kind. Raises EngineError if that is refused."""
        for job in (self.running, self.waiting):
            if job is not None and _blocks(job, job is self.waiting, kind):
                raise EngineError("input", _busy_text(job.kind))
        self.drop()

    def drop(self) -> None:
        """Cancel the waiting job; the result of a background check for it is still used."""
        job, self.waiting = self.waiting, None
        if job is not None:
            job.on_cancelled()
            self.on_change()

    def fail(self, error: Exception) -> None:
        """End the waiting job with an error."""
        job, self.waiting = self.waiting, None
        if job is not None:
            job.on_error(error)

    def cancel(self, kind: Kind | None = None) -> None:
        """Cancel the job of a kind, or the highest-ranking one; kill the process if it does not react."""
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
        """Run background work for the waiting job, which fails if the work fails. Only while nothing runs."""
        job = Job(Kind.BACKGROUND, request, on_result, on_error or self.fail, self.drop, lambda message: None)
        try:
            self._run(job)
        except EngineError as error:
            self.fail(error)

    def poll(self) -> None:
        """Pass messages from the process to the callbacks. Call it often from the main thread."""
        process = self.process
        for message in process.messages() if process is not None else ():
            if self.process is not process:  # a callback has started another process, or ended it
                break
            self._handle(message)
        job = self.running
        if job is not None and job.cancelled_at is not None and time.monotonic() - job.cancelled_at > CANCEL_PATIENCE_S:
            self.restart()
            self._finish(job, job.on_cancelled)

    def restart(self) -> None:
        """Kill the process; the next job starts a new one."""
        self._drop_process(kill=True)

    def stop(self) -> None:
        """End everything, without callbacks."""
        self.running = self.waiting = None
        if self.process is not None:
            self.process.stop()
            self._drop_process()

    def _advance(self) -> None:
        """Start the waiting job if nothing runs and its requirements are met."""
        while self.running is None and self.waiting is not None:
            job = self.waiting
            if self.gate is not None and not self.gate.passes(job):
                if self.waiting is job:
                    return  # the check is running
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
        assert request is not None, "a job without a request is not run"
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
                text = _("Cannot create a folder for temporary files: {problem}.").format(problem=error.strerror)
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
    """Why another job cannot start, by the kind of the one that blocks it."""
    if kind is Kind.MAPS:
        return _("Attention maps are being computed. Wait until they are ready, or press Cancel.")
    if kind is Kind.ORGANS:
        return _("Organs are being measured. Wait until the measurement is done, or press Cancel.")
    if kind is Kind.FILES:
        return _("A folder is being denoised, or a model is being downloaded or removed. Wait, or press Cancel.")
    return _("Denoising is already running. Wait until it is done, or press Cancel.")


def _blocks(job: Job, waits: bool, kind: Kind) -> bool:
    """Whether a job blocks one of another kind."""
    if waits:
        return job.kind.rank > kind.rank
    return not (job.kind is Kind.BACKGROUND or job.kind.yields or kind.yields)


def _was_killed(exit_code: int | None, log: list[str]) -> bool:
    """Whether the system killed the process, as it does when memory runs out."""
    if exit_code in (-9, 137):
        return True
    return os.name != "nt" and exit_code == 1 and any(LAUNCHER_WORDS in line for line in log[-5:])
