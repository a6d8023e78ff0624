"""Measurements on disk, each stored immediately, so that an interrupted run resumes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Store:
    """Measurements by key, one JSON line each. A key identifies everything the value depends on."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._kept: dict[str, Any] = {}
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:  # an incomplete line of a killed run
                    continue
                self._kept[entry["key"]] = entry["value"]

    def get(self, key: str, make: Callable[[], Any]) -> Any:
        """The value stored under a key; measured and stored if missing. NaN stays NaN."""
        if key not in self._kept:
            value = make()
            line = "\n" * self._torn() + json.dumps({"key": key, "value": value}) + "\n"
            with self._path.open(
                "ab", buffering=0
            ) as file:  # a single write, so that concurrent runs do not mix their lines
                file.write(line.encode())
            self._kept[key] = json.loads(json.dumps(value))
        return self._kept[key]

    def _torn(self) -> bool:
        """Whether the file ends within a line."""
        if not self._path.is_file() or not self._path.stat().st_size:
            return False
        with self._path.open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) != b"\n"
