"""Fuzz the readers with damaged inputs: `python -m Testing.fuzz.campaign [TARGET ...] --inputs 10000 --seed 0`.

Each target runs in a separate process, so a crash ends only that target. Prints how many inputs each target read and
refused, and the first failure: an exception other than a BioAttError, a read of more than HANG_S seconds, a partial
output, or a crash.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

HANG_S, BLOCKED_S = 10, 60
"""Limits in seconds of CPU time, and of wall time, which allows for a busy machine."""
MEMORY_BYTES = 8 << 30


class HangError(Exception):
    """A read took longer than HANG_S or BLOCKED_S."""


@contextmanager
def time_limit() -> Iterator[None]:
    """Raise HangError after HANG_S CPU or BLOCKED_S wall seconds; no limit on systems without interval timers."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def ring(*_: object) -> None:
        raise HangError

    alarms = ((signal.SIGPROF, signal.ITIMER_PROF, HANG_S), (signal.SIGALRM, signal.ITIMER_REAL, BLOCKED_S))
    before = [signal.signal(kind, ring) for kind, _, _ in alarms]
    for _, timer, seconds in alarms:
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for (kind, timer, _), handler in zip(alarms, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(kind, handler)


def fuzz(name: str, inputs: int, start: int) -> Counter[str]:
    """Read `inputs` damaged files of a target and count the outcomes. Raises the first unexpected exception."""
    from Testing.fuzz.mutations import binary_damage, damaged, text_damage
    from Testing.fuzz.targets import TARGETS

    from bioatt.core.errors import BioAttError

    target, counts = TARGETS[name], Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "damaged"
        place.mkdir()
        seeds = target.seeds(Path(folder))

        @seed(start)
        @settings(
            max_examples=inputs,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.sampled_from(sorted(seeds)), text_damage if target.text else binary_damage)
        def one(file: str, mutations: list) -> None:
            path = place / file
            path.write_bytes(damaged(seeds[file], mutations))
            counts["inputs"] += 1
            with time_limit(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    target.read(path)
                    counts["read"] += 1
                except BioAttError as error:
                    counts["refused" if "\n" not in str(error) else "refused in several lines"] += 1

        one()
    return counts


def main() -> int:
    """Run the targets; exit status 1 if any failed."""
    from Testing.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--here", action="store_true", help="in this process, printing JSON")
    args = parser.parse_args()
    if args.here:
        _limit_memory()
        try:
            print(json.dumps(fuzz(args.targets[0], args.inputs, args.seed)))
        except BaseException:  # stderr may still be redirected to silence a decoder
            traceback.print_exc(file=sys.stdout)
            return 1
        return 0
    failed = 0
    for name in args.targets or TARGETS:
        start = time.monotonic()
        command = [sys.executable, "-m", "Testing.fuzz.campaign", name, "--here"]
        done = subprocess.run(
            [*command, "--inputs", str(args.inputs), "--seed", str(args.seed)], capture_output=True, text=True
        )
        failed += done.returncode != 0
        said = (
            done.stdout.strip()
            if not done.returncode
            else f"FAILED ({done.returncode})\n{(done.stdout + done.stderr)[-3000:]}"
        )
        noise = len(done.stderr.splitlines()) if not done.returncode else 0
        print(f"{name}: {said}, lines on stderr {noise}, {time.monotonic() - start:.0f} s", flush=True)
    return int(failed > 0)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


if __name__ == "__main__":
    sys.exit(main())
