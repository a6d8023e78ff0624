"""The node's log: a JSON object a line, in which a study is a hash of its UID and nothing else of a header is told."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FILE = "audit.jsonl"
_LARGEST = 16 << 20
"""Bytes, after which the log begins anew beside its predecessor."""


class Audit:
    """Appends to audit.jsonl in a folder, whole lines, from any thread.

    A log that cannot be written stops nothing: the events of a full disk are missing in it.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._writing = threading.Lock()

    def __call__(self, event: str, **what: Any) -> None:
        """event: a word; what: numbers, hashes, names of the settings, and AE titles and addresses of peers."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": moment, "event": event, **what}) + "\n"
        with self._writing:
            try:
                if self._file.exists() and self._file.stat().st_size > _LARGEST:
                    self._file.replace(self._file.with_suffix(".old.jsonl"))
                with self._file.open("a", encoding="utf-8") as stream:
                    stream.write(line)
            except OSError:
                pass
