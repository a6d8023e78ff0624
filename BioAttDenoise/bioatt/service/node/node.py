"""The DICOM node: receives studies, denoises each by the rules once complete, and forwards the derived series.

All its state is in the spool, so it resumes after any interruption; see `spool` and Docs/reliability.md.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import bioatt
from bioatt.core.errors import BioAttError
from bioatt.service.node.audit import Audit
from bioatt.service.node.receiver import Receiver
from bioatt.service.node.sender import Sender
from bioatt.service.node.settings import NodeSettings
from bioatt.service.node.spool import Spool, hashed, is_made

_ATTEMPTS = 3
_PAUSE_S = 60.0
"""Pause after a failed attempt, to wait for disk space, the GPU or memory to become free."""
_RESULT = 2
"""Space for results, as a multiple of the images' size: uncompressed results coexist with the images."""


class DeviceLostError(BioAttError):
    """The device no longer works in this process, through no fault of a study; the node must be restarted."""


class Failure(NamedTuple):
    """Images that could not be denoised, and a one-line reason, which may quote a header and stays in the spool."""

    images: list[Path]
    reason: str


Denoise = Callable[[Path, Path], list[Failure]]
"""(folder of images, folder for results) → failures. Results are folders of .dcm files at any depth.

Raises DeviceLostError.
"""


class Node:
    """A running node: receives and sends as soon as it exists, denoises in `run`. Raises InputError if it cannot run.

    denoise: produces the results, in the thread that calls `run`.
    """

    def __init__(self, settings: NodeSettings, denoise: Denoise, *, pause_s: float = _PAUSE_S) -> None:
        self._settings, self._denoise, self._pause_s = settings, denoise, pause_s
        self._fingerprint = hashed(json.dumps([bioatt.__version__, settings.rules], default=str, sort_keys=True))
        self._not_before: dict[str, float] = {}
        self.spool = Spool(settings.spool, settings.free_mb << 20)
        self._audit = Audit(settings.spool)
        tempfile.tempdir = str(
            settings.spool / "temporary"
        )  # keeps libraries' temporary files private; emptied at start
        names = [one.name for one in settings.destinations]
        self._senders: list[Sender] = []
        try:
            self._senders = [
                Sender(self.spool, one, names, settings.listen.ae_title, self._audit) for one in settings.destinations
            ]
            self._receiver = Receiver(settings.listen, self.spool, self._audit)
        except BaseException:
            self.spool.close()
            tempfile.tempdir = None
            raise
        for sender in self._senders:
            sender.start()
        self._audit("started", version=bioatt.__version__, port=settings.listen.port)

    def run(self, stopped: threading.Event) -> None:
        """Denoise complete studies until `stopped` is set, then close port and spool. Raises DeviceLostError."""
        try:
            while not stopped.is_set():
                if not self.step():
                    stopped.wait(0.2)
        finally:
            self.close()

    def close(self) -> None:
        """Stop receiving and sending, and release the spool."""
        self._receiver.stop()
        for sender in self._senders:
            sender.stop()
        self._audit("stopped")
        self.spool.close()
        tempfile.tempdir = None

    def step(self) -> bool:
        """Queue studies that have become complete, and denoise one. False if there was nothing to do."""
        try:
            for job in self.spool.collect(self._settings.listen.quiet_s):
                self._audit("complete", job=job.name, images=len(list((job / "in").iterdir())))
            due = next((job for job in self.spool.jobs("ready") if self._due(job)), None)
            if due is None:
                return False
            self._work_on(due)
        except OSError as error:  # a disk error: nothing is lost, and the next step retries
            self._audit("waiting", reason=error.strerror or type(error).__name__)
            return False
        return True

    def _due(self, job: Path) -> bool:
        return self._not_before.get(job.name, 0.0) <= time.monotonic()

    def _later(self, job: Path) -> None:
        self._not_before[job.name] = time.monotonic() + self._pause_s

    def _work_on(self, job: Path) -> None:
        if is_made(job):
            self.spool.done(job, self._fingerprint)
            return
        if not self.spool.leave_out_done(job, self._fingerprint):
            self._audit("denoised before, left out", job=job.name)
            self.spool.remove(job)
            return
        images = sorted((job / "in").iterdir())
        if self.spool.has_room(_RESULT * sum(file.stat().st_size for file in images)):
            self._attempt(job, images)
        else:
            self._audit("waiting", job=job.name, reason="no room for results")
            self._later(job)

    def _attempt(self, job: Path, images: list[Path]) -> None:
        attempt, started = self.spool.begun(job), time.monotonic()
        work = job / "work"
        if attempt > _ATTEMPTS:  # the process itself ended each time before
            failures = [Failure(images, "the node crashed at each attempt on this study")]
        else:
            work.mkdir(mode=0o700, exist_ok=True)
            try:
                failures = self._denoise(job / "in", work)
            except DeviceLostError:
                raise
            except Exception as error:  # one study must not stop the others
                failures = [Failure(images, f"internal error ({type(error).__name__}: {error}): please report it")]
            except BaseException:  # stopped from outside, not by the study
                self.spool.not_begun(job)
                raise
        if failures and attempt < _ATTEMPTS:
            self._audit("attempt failed", job=job.name, attempt=attempt)
            self._later(job)
            return
        for failure in failures:
            self.spool.set_aside(job, failure.images, failure.reason)
        series = len({file.parent for file in work.rglob("*.dcm")}) if work.is_dir() else 0
        if series:
            self.spool.done(job, self._fingerprint)
        else:
            self.spool.remove(job)
        seconds = round(time.monotonic() - started, 3)
        self._audit("denoised" if series else "left out", job=job.name, series=series, failed=len(failures), s=seconds)
        self._not_before.pop(job.name, None)
