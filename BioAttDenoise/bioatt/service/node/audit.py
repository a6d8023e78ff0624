"""The node's log: one JSON object per line. It contains no header data except hashes of study UIDs."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FILE = "audit.jsonl"
_LARGEST = 16 << 20
"""Size in bytes at which the log is rotated; its predecessor is kept."""


class Audit:
    """Appends whole lines to audit.jsonl in a folder, from any thread.

    Failures to write the log are ignored, so events during a full disk are missing.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._writing = threading.Lock()

    def __call__(self, event: str, **what: Any) -> None:
        """Log an event. what: numbers, hashes, names from the settings, and AE titles and addresses of peers."""
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
