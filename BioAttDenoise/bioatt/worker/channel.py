"""The worker's pipe: one JSON object per line, requests in and replies out (Docs/worker_protocol.md)."""

from __future__ import annotations

import json
import logging
import threading
from typing import IO, Any

from bioatt.worker.fields import REQUESTS, fault, is_whole

PROTOCOL = 1

log = logging.getLogger("bioatt.worker.channel")


class ProtocolError(Exception):
    """A line is not a valid request. identity: its id, if any."""

    def __init__(self, message: str, identity: int | None = None) -> None:
        super().__init__(message)
        self.identity = identity


class Channel:
    """Sends replies, one per line, from any thread."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.lock = threading.Lock()

    def send(self, message_type: str, **fields: Any) -> None:
        """Write one reply. A closed pipe is ignored, since stdin then ends too."""
        line = json.dumps({"type": message_type, **fields}, allow_nan=False).encode() + b"\n"
        with self.lock:
            try:
                self.stream.write(line)
                self.stream.flush()
            except OSError:
                log.info("the parent has closed the pipe")


def parse_request(line: bytes) -> dict[str, Any]:
    """Parse a request from a line and check its fields and their types. Raises ProtocolError."""
    try:
        request = json.loads(line)
        kind, identity = request["type"], request.get("id")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ProtocolError("a request must be a JSON object with a type") from None
    identity = identity if is_whole(identity) else None
    if not isinstance(kind, str) or kind not in {*REQUESTS, "cancel", "quit"}:
        raise ProtocolError(f"unknown request {kind!r:.40}", identity)
    number = {"cancel": "request", "quit": None}.get(kind, "id")
    if number is not None and not is_whole(request.get(number)):
        raise ProtocolError(f"{kind} needs a whole number as {number}", identity)
    if kind in REQUESTS and (message := fault(request, kind)):
        raise ProtocolError(message, identity)
    return dict(request)
