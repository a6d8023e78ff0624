"""A stand-in worker driven over a pipe."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from places import STAND_IN

GEOMETRY = {"spacing": [0.7, 0.7, 2.0], "origin": [-10.0, -20.0, 30.0], "direction": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}


class Pipe:
    """A running worker, with its pipe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, str(STAND_IN), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.ready = self.read()

    def send(self, **message) -> None:
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def read(self) -> dict:
        return json.loads(self.process.stdout.readline())

    def answer(self, identity: int) -> tuple[dict, list[dict]]:
        progress = []
        while True:
            message = self.read()
            if message["type"] != "progress":
                assert message["id"] == identity
                return message, progress
            progress.append(message)

    def array(self, values: np.ndarray, name: str = "in.npy") -> dict:
        """Save an array at a path relative to the private folder; returns the request's description of it."""
        np.save(self.folder / name, values)
        return {"array": name, **GEOMETRY}

    def denoise(self, identity: int, model: str, slices: int = 6, **more) -> dict:
        hu = np.arange(slices * 20 * 20, dtype=np.int16).reshape(slices, 20, 20) - 1000
        self.send(type="denoise", id=identity, volume=self.array(hu), model=model, **more)
        return self.answer(identity)[0]


@pytest.fixture
def pipe(tmp_path):
    folder = tmp_path / "private"
    folder.mkdir()
    made = Pipe(folder)
    yield made
    made.process.kill()
    made.process.wait()
