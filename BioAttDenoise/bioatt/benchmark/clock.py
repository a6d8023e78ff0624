"""Times of several works that take turns: CPU seconds of all threads, which other programs hardly change, and wall."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Work = Callable[[], object]


@dataclass(frozen=True)
class Times:
    """Seconds: medians over the rounds."""

    cpu: float
    wall: float

    def __truediv__(self, count: float) -> Times:
        return Times(self.cpu / count, self.wall / count)


def timed(works: Mapping[str, Work], rounds: int) -> dict[str, Times]:
    """Each work once to warm up, then all of them in turn, `rounds` times."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            start = time.process_time(), time.perf_counter()
            work()
            if number:
                taken[name].append((time.process_time() - start[0], time.perf_counter() - start[1]))
    return {name: Times(*map(statistics.median, zip(*times, strict=True))) for name, times in taken.items()}
