"""Choice of the fastest backend, precision and thread count for a model; measured once and cached in the models folder.

The cached choice applies to one CPU with its limits, program versions and model weights; if any of them changes, the
choice is measured again. BIOATT_TUNING=off disables both measuring and the cache.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import bioatt
from bioatt.compute.backends import BACKENDS, BackendName, installed, versions
from bioatt.compute.device import Precision, cpu_has_bf16
from bioatt.core.errors import InputError
from bioatt.core.resources import models_folder
from bioatt.io.files import atomic_write

FILE = "computes.json"
BUDGET_S = 3.0
ROUNDS = 5
TOLERANCE_HU, SHARE = 0.5, 0.999
"""A candidate is accurate enough if it differs by at most this from the first one on this share of the pixels."""
WORTH = 0.95
"""A later candidate must take less than this share of an earlier one's time."""
PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Option names and display names."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """How a model is computed on the CPU. precision: as in `Compute.precision`."""

    backend: BackendName
    precision: Precision
    threads: int

    def __str__(self) -> str:
        plural = "s" * (self.threads != 1)
        return f"{BACKENDS[self.backend]}, {PRECISIONS[self.precision]}, {self.threads} thread{plural}"


def tuning_wanted() -> bool:
    """Whether measuring and using the cached choice are enabled."""
    return os.environ.get("BIOATT_TUNING", "").lower() not in ("off", "0", "no")


def machine(model_sha256: str) -> dict[str, Any]:
    """Cache key: everything that a choice depends on."""
    limits = {name: os.environ.get(name) for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")}
    return {
        "cpu": cpu_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        **{name: limit for name, limit in limits.items() if limit},
        "bioatt": bioatt.__version__,
        **versions(),
        "model": model_sha256,
    }


def cpu_name() -> str:
    """The processor's name as reported by the system."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def remembered(key: Mapping[str, Any]) -> Choice | None:
    """The cached choice for this key; None if there is none or it cannot be read."""
    try:
        return Choice(**_read()[_name(key)]["choice"])
    except (KeyError, TypeError):
        return None


def remember(key: Mapping[str, Any], choice: Choice, measured: list[dict[str, Any]]) -> None:
    """Cache a choice with its measurements; if that fails, the next run measures again."""
    answers = {**_read(), _name(key): {"for": dict(key), "choice": asdict(choice), "measured": measured}}
    path = models_folder() / FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as partial:
            partial.write_text(json.dumps(answers, indent=1), encoding="utf-8")
    except (OSError, InputError) as error:
        log.info("the measured choice was not cached: %s", error)


def _read() -> dict[str, Any]:
    try:
        answers = json.loads((models_folder() / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return answers if isinstance(answers, dict) else {}


def _name(key: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


def candidates() -> list[Choice]:
    """All combinations that this machine supports, the simplest first."""
    threads = torch.get_num_threads()
    counts = [threads, *([threads // 2] if threads >= 4 else [])]
    precisions: tuple[Precision, ...] = ("fp32", "bf16") if cpu_has_bf16() else ("fp32",)
    return [Choice(name, kind, count) for kind in precisions for name in installed() for count in counts]


def measure(
    run: Callable[[Choice], NDArray[np.float32]], among: Sequence[Choice], clock: Callable[[], float]
) -> tuple[Choice, list[dict[str, Any]]]:
    """Find the fastest candidate that is accurate enough; also returns time (s) and error (HU) of all that were tried.

    run(choice) computes a slice and returns pixels in HU; those of the first candidate are the reference. Candidates
    take turns, and the shortest time counts, since other programs can only add to it. Once the budget is spent, no
    further run starts.
    """
    start = clock()
    errors: dict[Choice, float] = {}
    reference: NDArray[np.float32] | None = None
    for choice in among:
        if errors and clock() - start > BUDGET_S:
            break
        pixels = run(choice)
        reference = pixels if reference is None else reference
        errors[choice] = float(np.quantile(np.abs(pixels - reference), SHARE))
    exact = [choice for choice, error in errors.items() if error <= TOLERANCE_HU]
    seconds = dict.fromkeys(exact, np.inf)
    for number in range(ROUNDS):
        for choice in exact:
            if number and clock() - start > BUDGET_S:
                break
            before = clock()
            run(choice)
            seconds[choice] = min(seconds[choice], clock() - before)
    best = among[0]
    for choice in exact:
        if seconds[choice] < WORTH * seconds[best]:
            best = choice
    rows = [
        {"way": str(choice), "seconds": round(seconds[choice], 4) if choice in seconds else None, "error_hu": error}
        for choice, error in errors.items()
    ]
    return best, rows
