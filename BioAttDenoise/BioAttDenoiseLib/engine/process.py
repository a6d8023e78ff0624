"""The engine process from Slicer's side: starting it, exchanging JSON lines, and ending it with its children.

Independent of Qt and MRML. Messages are described in Docs/worker_protocol.md, with arrays in place of their file names;
a result whose arrays cannot be read becomes an `error`. Two are added here: `gone {exit}` when the process has ended,
and `prepared {token}` from `run_in_background`. Reader threads fill a queue, which the caller drains with `messages()`.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bioatt.io.files import remove_partials

from .errors import _

LOG_LINES = 2000
CLEAN_UP = "BioAttDenoise clean-up"
START_WORKER = Path(__file__).resolve().with_name("start_worker.py")


def cleaning_up() -> bool:
    """Whether files of an ended process are still being removed. Other threads of Slicer's Python run only while its
    main thread runs Python, so the caller must keep polling.
    """
    return any(thread.name == CLEAN_UP for thread in threading.enumerate())


class EngineGoneError(Exception):
    """The process has ended, or could not be started."""


class EngineProcess:
    """One worker process with its private folder for arrays.

    python: the interpreter (PythonSlicer). script: what it runs. temporary: where the private folder is made.
    environment: the child's. Raises EngineGoneError if it cannot be started, OSError if no folder can be created.
    """

    def __init__(
        self,
        python: str,
        *,
        script: Path = START_WORKER,
        temporary: str | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        self.pid: int | None = None
        self.finished = False
        self._inbox: queue.Queue[dict[str, Any]] = queue.Queue()
        self._last_id = 0
        self._outputs: set[Path] = set()
        self.folder = Path(tempfile.mkdtemp(prefix="BioAttDenoise-", dir=temporary))
        try:
            self._process = subprocess.Popen(
                [python, str(script), str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                cwd=self.folder.parent,  # Windows cannot remove a process's current folder
                **_own_group(),
            )
        except OSError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise EngineGoneError(
                _("{program} cannot be started: {reason}").format(
                    program=os.path.basename(python), reason=error.strerror
                )
            ) from None
        self._stdin: Any = self._process.stdin
        self._stdout: Any = self._process.stdout
        self._stderr: Any = self._process.stderr
        self._log_reader = threading.Thread(target=self._read_log, daemon=True)
        self._log_reader.start()
        self._reply_reader = threading.Thread(target=self._read_replies, daemon=True)
        self._reply_reader.start()

    @property
    def running(self) -> bool:
        """Whether the process is still running."""
        return not self.finished and self._process.poll() is None

    def request(self, kind: str, **fields: Any) -> int:
        """Send a request; returns its id. Raises EngineGoneError if the process has ended."""
        self._last_id += 1
        if "output" in fields:
            path = Path(fields["output"]["path"])
            self._outputs |= {path, path.parent}  # partial outputs are in a folder that existed before, or next to it
        self._send({"type": kind, "id": self._last_id, **fields})
        return self._last_id

    def cancel(self, identity: int) -> None:
        """Ask the process to cancel a request."""
        self._send({"type": "cancel", "request": identity})

    def messages(self) -> list[dict[str, Any]]:
        """Messages received since the last call."""
        found = []
        while True:
            try:
                found.append(self._inbox.get_nowait())
            except queue.Empty:
                return found

    def run_in_background(self, work: Callable[[], Any], token: int) -> None:
        """Do file work off the main thread; the outcome arrives as the message `prepared {token, value}` or `prepared
        {token, error}`.
        """

        def run() -> None:
            try:
                message = {"value": work()}
            except Exception as error:
                message = {"error": error}
            self._inbox.put({"type": "prepared", "token": token, **message})

        threading.Thread(target=run, daemon=True).start()

    def save(self, name: str, array: np.ndarray) -> str:
        """Write an array to the private folder. Raises OSError if the disk is full."""
        with open(self.folder / name, "wb") as file:
            np.save(file, array)
        return name

    def remove(self, name: str) -> None:
        """Remove an array that is no longer needed."""
        (self.folder / name).unlink(missing_ok=True)

    def stop(self) -> None:
        """End the process by closing its stdin; kill it if it does not end shortly."""
        with contextlib.suppress(OSError):
            self._stdin.close()
        try:
            self._process.wait(0.2)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait(5)
        self._clean_up()

    def kill(self) -> None:
        """End the process and everything it started (PythonSlicer is a launcher: the interpreter is its child). Does
        not wait.
        """
        if os.name == "nt":
            pids = [word for pid in {self._process.pid, self.pid} - {None} for word in ("/PID", str(pid))]
            with contextlib.suppress(OSError):
                subprocess.Popen(["taskkill", "/F", "/T", *pids], stdout=subprocess.DEVNULL, **_own_group())
        else:
            # macOS answers "not permitted" for a group whose processes have all ended
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self.discard()

    def discard(self) -> None:
        """Remove the files of a process that has ended or is about to. Does not wait."""
        threading.Thread(target=self._clean_up, name=CLEAN_UP).start()

    def _clean_up(self) -> None:
        """Wait for the end, then remove the private folder and partial files next to the outputs."""
        self._process.wait()
        self._reply_reader.join(2)  # also of a launcher's child, whose stdout closes when it ends
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.pid is not None:
            for folder in self._outputs:
                remove_partials(folder, self.pid)

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._stdin.write(json.dumps(message).encode() + b"\n")
            self._stdin.flush()
        except (OSError, ValueError):
            raise EngineGoneError(_("the engine's process has ended")) from None

    def _read_replies(self) -> None:
        """Fill the inbox until the process ends. `gone` always comes last, because a job waits for it."""
        try:
            for line in self._stdout:
                self._receive(line)
        except Exception as error:
            self.log.append(f"replies can no longer be read: {type(error).__name__}")
            self.kill()  # its replies could not be received
        finally:
            self.finished = True
            code = self._process.wait()
            self._log_reader.join(1)
            self._inbox.put({"type": "gone", "exit": code})

    def _receive(self, line: bytes) -> None:
        """Put a reply into the inbox with its arrays, or as an `error` if they cannot be read."""
        try:
            message = json.loads(line)
            if message["type"] == "ready":
                self.pid = message["pid"]
        except (ValueError, KeyError, TypeError) as error:
            self.log.append(f"unreadable reply: {error}")
            return
        try:
            self._load_arrays(message)
        except Exception as error:
            self.log.append(f"unreadable arrays: {type(error).__name__}: {error}")
            message = {"type": "error", "id": message.get("id"), **_unreadable(error)}
        self._inbox.put(message)

    def _load_arrays(self, message: dict[str, Any]) -> None:
        """Replace the names of result arrays by the arrays, in the reader thread because it may take a while."""
        holders = [
            each
            for each in [message, *message.get("attention", []), *message.get("maps", [])]
            if each.get("array") is not None
        ]
        paths = [self.folder / Path(holder["array"]).name for holder in holders]
        try:
            for holder, path in zip(holders, paths, strict=True):
                holder["array"] = np.load(path)
                path.unlink(missing_ok=True)
        finally:
            for path in paths:  # unread arrays may hold gigabytes each
                path.unlink(missing_ok=True)

    def _read_log(self) -> None:
        for line in self._stderr:
            self.log.append(line.decode(errors="replace").rstrip())


def _unreadable(error: Exception) -> dict[str, str]:
    """Message of the `error` that replaces a result whose arrays cannot be read."""
    if isinstance(error, MemoryError):
        text = _("memory ran out while reading the result: close volumes you no longer need")
        return {"kind": "memory", "message": text}
    if isinstance(error, OSError):
        return {"kind": "disk", "message": error.strerror or "unreadable"}
    return {"kind": "internal", "message": _("the result cannot be read ({error})").format(error=type(error).__name__)}


def _own_group() -> dict[str, Any]:
    """Popen options: a group of its own, so that it can be ended as a whole, and no console window on Windows."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.BELOW_NORMAL_PRIORITY_CLASS}
    return {"start_new_session": True}
