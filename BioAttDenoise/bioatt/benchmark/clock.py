"""Interleaved timing of functions: wall time, and CPU time of all threads, which other programs hardly affect."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

Work = Callable[[], object]


@dataclass(frozen=True)
class Times:
    """Seconds."""

    cpu: float
    wall: float

    def __truediv__(self, count: float) -> Times:
        return Times(self.cpu / count, self.wall / count)


@contextmanager
def clocked(taken: list[Times]) -> Iterator[None]:
    """Append the time of the block to `taken`."""
    start = time.process_time(), time.perf_counter()
    yield
    taken.append(Times(time.process_time() - start[0], time.perf_counter() - start[1]))


def median(taken: Sequence[Times]) -> Times:
    """Medians of CPU and wall seconds, computed separately."""
    return Times(*(statistics.median(getattr(one, kind) for one in taken) for kind in ("cpu", "wall")))


def timed(works: Mapping[str, Work], rounds: int) -> dict[str, Times]:
    """Median times; each function runs once to warm up, then all run in turn, `rounds` times."""
    taken: dict[str, list[Times]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            with clocked(taken[name]):
                work()
    return {name: median(times[1:]) for name, times in taken.items()}
