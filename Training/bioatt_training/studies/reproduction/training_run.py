"""One run of a reproduction: training, evaluation, attention maps, and the record of its cost."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from bioatt.compute.device import choose, tune_cpu
from bioatt.inference.models import read_model
from bioatt.io.files import atomic_write
from bioatt_training.data.bank import Bank
from bioatt_training.evaluation.compare import evaluate_all
from bioatt_training.evaluation.judge import Judgement
from bioatt_training.fit.arms import ARMS
from bioatt_training.fit.checkpoints import LAST
from bioatt_training.fit.config import Config
from bioatt_training.fit.history import read_history
from bioatt_training.fit.run import epoch_model, fit
from bioatt_training.studies.reproduction.attention_maps import keep_maps, maps_file, shown_slice
from bioatt_training.studies.reproduction.results import EVALUATION, RECORD


def execute(config: Config, folder: Path, judgement: Judgement) -> dict[str, Any]:
    """Train into `folder`, evaluate the best model, and write and return the run's record.

    Record: {"arm", "seed", "steps", "seconds": {"fit", "judge"}, "peak_mb", "device", "interrupted", "attention"}.
    Resumes after an interruption. peak_mb is that of the process, so each run should have its own.
    """
    tune_cpu()
    bank = Bank(Path(config.data.bank))
    interrupted = (folder / LAST).is_file()
    start = time.perf_counter()
    path = fit(config, folder)
    trained = time.perf_counter()
    evaluate_all([read_model(path)], bank, judgement, folder / EVALUATION)
    attention = []
    if ARMS[config.network.arm].uses_prior:
        index = shown_slice(bank)
        for epoch in _shown_epochs(config, folder):
            model = read_model(epoch_model(config, folder, epoch))
            attention += keep_maps(model, bank, index, maps_file(folder, epoch), epoch)
    record = {
        "arm": config.network.arm,
        "seed": config.run.seed,
        "steps": int(read_history(folder)[-1]["step"]),
        "seconds": {"fit": trained - start, "judge": time.perf_counter() - trained},
        "peak_mb": peak_mb(),
        "device": choose().device.type,
        "interrupted": interrupted,
        "attention": attention,
    }
    with atomic_write(folder / RECORD) as partial:
        partial.write_text(json.dumps(record, indent=1), encoding="utf-8")
    return record


def _shown_epochs(config: Config, folder: Path) -> list[int]:
    """The first, the 20th and the last of the kept epochs; early stopping may have skipped some."""
    kept = [epoch for epoch in config.run.keep_epochs if epoch_model(config, folder, epoch).is_file()]
    return [epoch for epoch in kept if epoch in (1, 20, max(kept))]


def peak_mb() -> float | None:
    """Peak memory of this process in MiB, or of its GPU if it used one; None if the system does not report it."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return float(torch.cuda.max_memory_allocated() / 2**20)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
