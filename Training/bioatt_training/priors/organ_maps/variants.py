"""Train several recipes in parallel on one GPU; the validation patients determine the best.

OUT/organs.pt: {variant: averaged weights in float16}. OUT/organs.json: {variant: {"config", "history"}}, a history of
{"step", "seconds", "loss", "dice" by descriptor, "mean"}. Both are rewritten whenever a variant saves.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.core.errors import InputError
from bioatt.io.files import atomic_write, make_folder
from bioatt_training.priors.organ_maps.augmentation import Strength
from bioatt_training.priors.organ_maps.fit import Fit, FitConfig, TrainingSets
from bioatt_training.priors.organ_maps.slices import read_pack
from bioatt_training.priors.organ_maps.validate import Validation

WEIGHTS, RECORD = "organs.pt", "organs.json"
_CARD = FitConfig(steps=16000, outlined=11, weak=3, phantom=2, weight_decay=0.05, warm_up=300, save_every=400)
VARIANTS = {
    "full": _CARD,
    "mild": replace(_CARD, strength=Strength(pose=0.5, content=0.3, intensity=0.6)),
    "real": replace(_CARD, outlined=12, weak=4, phantom=0, strength=Strength(content=0.3)),
    "simple": replace(_CARD, outlined=16, weak=0, phantom=0, strength=Strength(pose=0.5, content=0.0, intensity=0.5)),
    "final": replace(_CARD, steps=24000, outlined=15, weak=4, phantom=3, averaging=0.999),
}
_END_S = 5.0
"""Margins around the deadline: a variant stops training before it, so that its last weights are evaluated, and is
killed after it.
"""
log = logging.getLogger(__name__)


def train_variants(
    pack: Path,
    out: Path,
    variants: dict[str, FitConfig],
    device: str,
    deadline: float,
    *,
    collect_every_s: float = 20.0,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Train each variant in a separate process until `deadline` (time.time()) or its last step; returns the record.

    Raises InputError if no variant saved any weights.
    """
    make_folder(out)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as scratch:
        folders = {name: Path(scratch) / name for name in variants}
        children = []
        for name, config in variants.items():
            folders[name].mkdir()
            child = context.Process(target=_train, args=(pack, folders[name], config, device, deadline), daemon=True)
            child.start()
            children.append(child)
        collected = time.monotonic()
        while any(child.is_alive() for child in children) and not stopped():
            time.sleep(0.2)
            if time.monotonic() - collected >= collect_every_s:
                _collect(folders, variants, out)
                collected = time.monotonic()
            if time.time() > deadline + _END_S:
                break
        for child in children:
            if child.is_alive():
                child.terminate()
            child.join()
        record = _collect(folders, variants, out)
    if not record:
        raise InputError("no variant of the organ maps saved any weights: give it more time")
    return record


def _train(pack: Path, folder: Path, config: FitConfig, device: str, deadline: float) -> None:
    """Train one variant; writes weights.pt and history.json to `folder` whenever it saves."""
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    begin, place = time.time(), torch.device(device)
    parts = read_pack(pack)
    train = parts["train"]
    sets = TrainingSets(train.where(train.outlined), train.where(~train.outlined), parts["phantom"])
    validation = Validation(parts["validation"], load_descriptor_set("paper17").descriptors, place)
    fit = Fit(sets, config, folder, place)
    history: list[dict[str, Any]] = []

    def report(step: int, loss: float) -> None:
        dice = validation.dice(fit.average)
        scores = [value for value in dice.values() if value is not None]
        mean = round(sum(scores) / max(len(scores), 1), 4)
        seconds = round(time.time() - begin, 1)
        history.append({"step": step, "seconds": seconds, "loss": round(loss, 4), "mean": mean, "dice": dice})
        weights = {key: value.detach().half().cpu() for key, value in fit.average.state_dict().items()}
        _save(folder / "weights.pt", weights)
        _save(folder / "history.json", history)
        print(f"| {folder.name} | step {step} | {seconds:.0f} s | loss {loss:.3f} | Dice {mean:.3f} |", flush=True)

    fit.run(report, limit_s=max(deadline - time.time() - _END_S, 0.1))


def _collect(folders: dict[str, Path], variants: dict[str, FitConfig], out: Path) -> dict[str, Any]:
    """Collect what the variants have saved so far in `out`."""
    weights, record = {}, {}
    for name, folder in folders.items():
        if (folder / "history.json").is_file():
            weights[name] = torch.load(folder / "weights.pt", map_location="cpu", weights_only=True)
            history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
            record[name] = {"config": asdict(variants[name]), "history": history}
    if record:
        _save(out / WEIGHTS, weights)
        _save(out / RECORD, record)
    return record


def _save(path: Path, content: Any) -> None:
    with atomic_write(path) as partial:
        if path.suffix == ".pt":
            torch.save(content, partial)
        else:
            partial.write_text(json.dumps(content, indent=1), encoding="utf-8")


def chosen(names: Sequence[str]) -> dict[str, FitConfig]:
    """The named variants. Raises InputError for an unknown one."""
    if unknown := [name for name in names if name not in VARIANTS]:
        raise InputError(f"unknown variant {unknown[0]}: choose from {', '.join(VARIANTS)}")
    return {name: VARIANTS[name] for name in names}
