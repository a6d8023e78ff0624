"""Sending derived series by C-STORE to an application entity or into a folder, with retries until they arrive."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE

from bioatt.io.dicom.kinds import CT_IMAGE
from bioatt.service.node.audit import Audit
from bioatt.service.node.settings import Destination, client_tls
from bioatt.service.node.spool import Spool, is_sent, move, sync_tree

_STORED = (0x0000, 0xB000, 0xB006, 0xB007)
"""Success, and warnings with which an image is nevertheless stored (PS3.4 B.2.3)."""
LONGEST_PAUSE_S = 300.0
_ALL = ""
"""Name under which the pause of a whole destination is kept."""


class SendError(Exception):
    """A destination did not accept a series. reachable: whether it answered, so that other series may succeed."""

    def __init__(self, message: str, *, reachable: bool) -> None:
        super().__init__(message)
        self.reachable = reachable


class _Pauses:
    """Pauses by name, each twice as long as the one before, up to LONGEST_PAUSE_S."""

    def __init__(self, first_s: float) -> None:
        self._first_s = first_s
        self._until: dict[str, tuple[float, float]] = {}

    def begin(self, name: str) -> None:
        """Begin the next pause."""
        _, last_s = self._until.get(name, (0.0, self._first_s / 2))
        pause_s = min(2 * last_s, LONGEST_PAUSE_S)
        self._until[name] = (time.monotonic() + pause_s, pause_s)

    def over(self, name: str) -> bool:
        """Whether there is no pause, or it has passed."""
        until, _ = self._until.get(name, (0.0, 0.0))
        return until <= time.monotonic()

    def end(self, name: str) -> None:
        """The next pause is a first one again."""
        self._until.pop(name, None)


class Sender:
    """Sends outgoing series to one destination in its own thread, so that a failed destination does not delay others.

    What was not sent is tried again after a pause, twice as long each time, up to LONGEST_PAUSE_S, and never given up:
    a job that was not accepted alone, all jobs if the destination does not answer. pause_s: the first pause.
    """

    def __init__(
        self,
        spool: Spool,
        destination: Destination,
        every: list[str],
        ae_title: str,
        audit: Audit,
        pause_s: float = 1.0,
    ) -> None:
        self.destination = destination
        self._spool, self._every, self._ae_title, self._audit = spool, every, ae_title, audit
        self._pauses, self._stopped = _Pauses(pause_s), threading.Event()
        self._tls = client_tls(destination.tls) if destination.tls else None
        self._thread = threading.Thread(target=self._run, name=f"sender {destination.name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the current series."""
        self._stopped.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stopped.wait(0.5):
            if not self._pauses.over(_ALL):
                continue
            try:
                self._send_all()
            except (OSError, SendError) as error:
                self._audit("not sent", destination=self.destination.name, reason=_reason(error))
                if not getattr(error, "reachable", False):
                    self._pauses.begin(_ALL)
                    continue
            self._pauses.end(_ALL)

    def _send_all(self) -> None:
        """Send every job that is due. Raises SendError, which names the job, at the end if one was not accepted, at
        once if the destination does not answer; OSError if the spool cannot be read.
        """
        failure: SendError | None = None
        for job in self._spool.jobs("outgoing"):
            if self._stopped.is_set() or is_sent(job, self.destination.name) or not self._pauses.over(job.name):
                continue
            try:
                for series in sorted({file.parent for file in (job / "out").rglob("*.dcm")}):
                    self._send(series)
                gone = self._spool.sent(job, self.destination.name, self._every)
            except Exception as error:  # one job must not stop the others
                if not getattr(error, "reachable", True):
                    raise
                self._pauses.begin(job.name)
                failure = SendError(f"{job.name}: {_reason(error)}", reachable=True)
            else:
                self._pauses.end(job.name)
                self._audit("sent", job=job.name, destination=self.destination.name, gone=gone)
        if failure:
            raise failure

    def _send(self, series: Path) -> None:
        if self.destination.folder is not None:
            _copy(series, self.destination.folder)
        else:
            self._store(series)

    def _store(self, series: Path) -> None:
        entity = AE(self._ae_title)
        entity.acse_timeout = entity.connection_timeout = 30
        entity.dimse_timeout = entity.network_timeout = 120
        for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
            entity.add_requested_context(CT_IMAGE, syntax)
        to = self.destination
        tls: Any = (self._tls, to.host) if self._tls else None
        association = entity.associate(to.host, to.port, ae_title=to.ae_title, tls_args=tls)
        if not association.is_established:
            raise SendError("no association" if association.is_rejected else "no connection", reachable=False)
        try:
            for file in sorted(series.glob("*.dcm")):
                status = association.send_c_store(dcmread(file)).get("Status")
                if status is None:
                    raise SendError("the association broke off", reachable=True)  # perhaps because of this image
                if status not in _STORED:
                    raise SendError(f"an image was refused with status 0x{status:04X}", reachable=True)
        except (RuntimeError, ValueError) as error:  # association lost, or CT images not accepted
            raise SendError(f"images are not accepted ({type(error).__name__})", reachable=True) from None
        finally:
            association.release() if association.is_established else association.abort()


def _copy(series: Path, folder: Path) -> None:
    """Copy a series to a folder named by its UID, which we assigned; an existing folder is an earlier copy."""
    target = folder / dcmread(next(series.glob("*.dcm")), specific_tags=["SeriesInstanceUID"]).SeriesInstanceUID
    if target.exists():
        return
    partial = folder / f".{target.name}.part"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(series, partial)
    sync_tree(partial)
    move(partial, target)


def _reason(error: Exception) -> str:
    """One line without header data, which the messages of other errors may quote."""
    if isinstance(error, SendError):
        return str(error)
    return getattr(error, "strerror", None) or type(error).__name__
