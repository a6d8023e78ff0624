"""Jobs for the engine's process: submitted from the main thread, answered through callbacks on the main thread by
`poll()`.

Knows neither Qt nor MRML. The process is started with the first job and kept; when it dies, the job that ran fails with
a message a clinician understands, and the next job starts a new one.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .process import EngineGoneError, EngineProcess

CANCEL_PATIENCE_S = 0.7
"""How long a cancelled job may take to end by itself before the process is ended by force."""

LAUNCHER_WORDS = "exit abnormally"
"""What PythonSlicer, a launcher, says last when the interpreter was killed; it then exits with 1. A crash of the
interpreter reads the same.
"""

HINTS = {
    "memory": "The computer ran out of memory. Close other programs, denoise fewer slices, or choose a smaller tile "
    "size under Advanced.",
    "disk": "The disk is full. Free some space, or choose another folder for temporary files in "
    "Edit / Application Settings / Modules.",
    "install": "The engine is not completely installed. Use «Check installation» under Advanced.",
    "crash": "The denoising process ended unexpectedly. Your scene is unchanged; press Denoise to try again. "
    "The log under Advanced says more.",
    "internal": "This is a fault of BioAttDenoise. Your scene is unchanged; please report it with the log under "
    "Advanced.",
}

BUSY = {
    "denoise": "A denoising is already running. Wait for it, or press Cancel.",
    "preview": "A preview is being computed. Wait a moment.",
    "models": "Files of a model are being fetched or removed. Wait for it, or press Cancel.",
}
"""Why the next job cannot begin, by the kind of the one that runs."""


class EngineError(Exception):
    """A job that failed. kind: input, memory, disk, install, crash, engine, internal, protocol; str() is the message
    for the user.
    """

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


def as_engine_error(error: BaseException) -> EngineError | ValueError:
    """Any exception as one that the panel can tell: ValueError and EngineError as they are."""
    if isinstance(error, (EngineError, ValueError)):
        return error
    if isinstance(error, MemoryError):
        return EngineError("memory", HINTS["memory"])
    return EngineError("internal", f"{type(error).__name__}: {error}\n{HINTS['internal']}")


@dataclass
class Job:
    """A request on its way. Exactly one of on_result, on_error and on_cancelled is called, once, on the main thread."""

    kind: str
    fields: dict[str, Any]
    on_result: Callable[[dict[str, Any]], None]
    on_error: Callable[[EngineError], None]
    on_cancelled: Callable[[], None]
    on_progress: Callable[[dict[str, Any]], None]
    prepare: Callable[[EngineProcess], dict[str, Any]] | None = None
    identity: int | None = None
    cancelled_at: float | None = None
    ended: bool = False


class Engine:
    """At most one job at a time. make_process() starts a process; it raises EngineGoneError where it cannot, OSError
    where there is no place for its files.
    """

    def __init__(self, make_process: Callable[[], EngineProcess]) -> None:
        self.make_process = make_process
        self.process: EngineProcess | None = None
        self.job: Job | None = None
        self.old_log: list[str] = []

    @property
    def busy(self) -> bool:
        """Whether a job is under way."""
        return self.job is not None

    @property
    def log(self) -> str:
        """What the processes wrote on stderr, newest last."""
        return "\n".join([*self.old_log, *(self.process.log if self.process is not None else ())])

    def submit(
        self,
        kind: str,
        fields: dict[str, Any] | None = None,
        *,
        on_result: Callable[[dict[str, Any]], None],
        on_error: Callable[[EngineError], None],
        on_cancelled: Callable[[], None] = lambda: None,
        on_progress: Callable[[dict[str, Any]], None] = lambda message: None,
        prepare: Callable[[EngineProcess], dict[str, Any]] | None = None,
    ) -> Job:
        """Start a job. `prepare(process)` runs off the main thread before the request is sent and returns further
        fields of it.

        Raises EngineError where a job is under way or the process cannot be started.
        """
        if self.job is not None:
            raise EngineError("input", BUSY.get(self.job.kind, "The engine is still starting. Wait a moment."))
        self._ensure_process()
        job = Job(kind, dict(fields or {}), on_result, on_error, on_cancelled, on_progress, prepare)
        self.job = job
        if prepare is None:
            self._send(job)
        else:
            process = self.process
            process.run_in_background(lambda: prepare(process), id(job))
        return job

    def cancel(self) -> None:
        """End the running job: politely first, by force when it does not react."""
        job = self.job
        if job is None or job.cancelled_at is not None:
            return
        job.cancelled_at = time.monotonic()
        if job.identity is not None:
            with contextlib.suppress(EngineGoneError):  # then `gone` is on its way
                self.process.cancel(job.identity)

    def poll(self) -> None:
        """Bring what has come from the process to the callbacks. Call it often from the main thread."""
        process = self.process
        for message in process.messages() if process is not None else ():
            if self.process is not process:  # a callback has begun with another, or ended it
                break
            self._handle(message)
        job = self.job
        if job is not None and job.cancelled_at is not None and time.monotonic() - job.cancelled_at > CANCEL_PATIENCE_S:
            self._drop_process(kill=True)
            self._finish(job, job.on_cancelled)

    def stop(self) -> None:
        """End everything, without callbacks."""
        if self.job is not None:
            self.job.ended = True
            self.job = None
        if self.process is not None:
            self.process.stop()
            self._drop_process()

    def _ensure_process(self) -> None:
        if self.process is not None and not self.process.running:
            self._drop_process()
        if self.process is None:
            try:
                self.process = self.make_process()
            except EngineGoneError as error:
                raise EngineError("install", f"{error}. {HINTS['install']}") from None
            except OSError as error:
                text = f"No folder for temporary files can be made: {error.strerror}."
                raise EngineError("disk", f"{text} {HINTS['disk']}") from None

    def _send(self, job: Job) -> None:
        with contextlib.suppress(EngineGoneError):  # then the message `gone` ends the job
            job.identity = self.process.request(job.kind, **job.fields)

    def _handle(self, message: dict[str, Any]) -> None:
        job, kind = self.job, message["type"]
        if kind == "gone":
            self._gone(message["exit"])
        elif job is None:
            return
        elif kind == "prepared" and message["token"] == id(job):
            self._prepared(job, message)
        elif message.get("id") != job.identity or job.identity is None:
            return
        elif kind == "progress":
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
            self._failed(job, "disk", error.strerror or "the file could not be written")
        elif error is not None:
            self._failed(job, "internal", f"{type(error).__name__}: {error}")
        else:
            job.fields.update(message["value"])
            self._send(job)

    def _failed(self, job: Job, kind: str, message: str) -> None:
        if kind == "cancelled" or job.cancelled_at is not None:
            self._finish(job, job.on_cancelled)
            return
        sentence = message[:1].upper() + message[1:].rstrip(".") + "."
        hint = HINTS.get(kind, "")
        self._finish(job, lambda: job.on_error(EngineError(kind, f"{sentence}\n{hint}".strip())))

    def _gone(self, exit_code: int | None) -> None:
        job = self.job
        killed = _was_killed(exit_code, list(self.process.log) if self.process is not None else [])
        self._drop_process()
        if job is None:
            return
        if job.cancelled_at is not None:
            self._finish(job, job.on_cancelled)
        elif killed:
            text = "The denoising process was ended by the system, most likely because memory ran out."
            self._finish(
                job, lambda: job.on_error(EngineError("memory", f"{text}\n{HINTS['memory']} Your scene is unchanged."))
            )
        else:
            self._finish(job, lambda: job.on_error(EngineError("crash", HINTS["crash"])))

    def _finish(self, job: Job, callback: Callable[[], None]) -> None:
        job.ended = True
        self.job = None  # before the callback: it may submit the next job
        callback()

    def _drop_process(self, kill: bool = False) -> None:
        if self.process is not None:
            self.old_log = [*self.old_log, *self.process.log][-500:]
            if kill:
                self.process.kill()
            else:
                self.process.discard()
            self.process = None


def _was_killed(exit_code: int | None, log: list[str]) -> bool:
    """Whether the system ended the process by force, which it does where memory runs out."""
    if exit_code in (-9, 137):
        return True
    return os.name != "nt" and exit_code == 1 and any(LAUNCHER_WORDS in line for line in log[-5:])
