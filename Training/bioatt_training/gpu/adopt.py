"""Export the outputs of a GPU training as model files, evaluate them on held-out patients, and write their cards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bioatt.core.errors import InputError
from bioatt.inference.models import read_model, save_model
from bioatt.io.files import atomic_write, make_folder
from bioatt_training.data.bank import Bank, Slice
from bioatt_training.evaluation.compare import evaluate_all
from bioatt_training.evaluation.judge import Judgement
from bioatt_training.evaluation.table import comparison, report
from bioatt_training.fit.arms import ARMS, ArmName, arm_network
from bioatt_training.fit.config import Config, DataConfig, NetworkConfig, OptimiserConfig, RunConfig
from bioatt_training.fit.ranges import training_ranges
from bioatt_training.gpu.card import card
from bioatt_training.gpu.outputs import load_arm, read_record

PRIOR_RISE = 0.09
"""These networks were trained only with the pooled priors of their slices; with this bound, one-hot priors cost 0.1 dB
instead of 1.4.
"""
EVALUATION = "evaluation.json"
REPORT = "report.md"


def adopt(
    outputs: Path,
    bank_folder: Path,
    out: Path,
    *,
    per_patient: int | None = None,
    command: str = "",
    progress: Callable[[], None] = lambda: None,
) -> list[Path]:
    """Export every trained arm to `out` and evaluate them; returns the model files, the arm "bioatt" first.

    Also writes the card NAME.md, evaluation.json and report.md with all tables; an interrupted evaluation resumes on
    the next call. Raises InputError if `outputs` is incomplete, or the bank's test patients were used in training.
    """
    record, bank = read_record(outputs), Bank(bank_folder)
    _check_patients(record, bank)
    trained = [arm for arm in ARMS if record["arms"].get(arm, {}).get("steps")]
    if not trained:
        raise InputError(f"{outputs.name} has no trained arm: the training ended before saving weights, run it again")
    trained.sort(key=lambda arm: arm != "bioatt")
    make_folder(out)
    config = read_config(record)
    models = [export(record, config, outputs, arm, out) for arm in trained]
    judgement = Judgement(per_patient=per_patient, prior=str(record["pack"]["prior"]))
    results = evaluate_all([read_model(path) for path in models], bank, judgement, out / EVALUATION, progress=progress)
    tables = [_seen(record, trained), *map(report, results), *([comparison(results)] if len(results) > 1 else [])]
    with atomic_write(out / REPORT) as partial:
        partial.write_text("\n\n".join(tables), encoding="utf-8")
    if trained[0] == "bioatt":
        model = read_model(models[0])
        text = card(model, record, results[0], command)
        with atomic_write(models[0].with_suffix(".md")) as partial:
            partial.write_text(text, encoding="utf-8")
    return models


def _seen(record: Mapping[str, Any], arms: list[ArmName]) -> str:
    """The amount of training of each arm, since arms with less training cannot be compared directly."""
    lines = ["| arm | patches shown | steps | seconds | |", "| --- | --- | --- | --- | --- |"]
    for arm in arms:
        done = record["arms"][arm]
        ended = "" if done.get("finished") else "ended early"
        lines.append(f"| {arm} | {done['patches']:,} | {done['steps']:,} | {done['seconds']:.0f} | {ended} |")
    return "\n".join([*lines, "", f"Trained on {record['device']}, one after another within the time limit."])


def export(record: Mapping[str, Any], config: Config, outputs: Path, arm: ArmName, out: Path) -> Path:
    """Write an arm's averaged weights as a trained-model file in int8, the version that is evaluated."""
    pack = record["pack"]
    done = record["arms"][arm]
    slices = [Slice(**{**line, "shape": tuple(line["shape"])}) for line in pack["slices"]]
    network = arm_network(replace(config.network, arm=arm), len(pack["descriptors"]))
    network.load_state_dict(load_arm(outputs, arm))
    last = done["history"][-1]
    training = {
        **training_ranges(slices, config.data, pack["dose_fraction"], len(pack["descriptors"])),
        "prior_rise": PRIOR_RISE,
        "arm": arm,
        "seed": config.run.seed,
        "patches_shown": done["patches"],
        "steps": done["steps"],
        "device": record["device"],
    }
    metadata = {
        "version": config.run.version,
        "descriptor_set": pack["descriptor_set"],
        "descriptors": pack["descriptors"] if ARMS[arm].uses_prior else [],
        "prior": pack["prior"],
        "training": training,
        "metrics": {name: last[name] for name in ("val_rmse_hu", "val_psnr", "val_ssim")},
    }
    name = config.run.name if arm == "bioatt" else f"{config.run.name}-{arm}"
    path = out / f"{name}.safetensors"
    save_model(path, network, metadata, as_int8=True)
    return path


def read_config(record: Mapping[str, Any]) -> Config:
    """The configuration in train.json."""
    kinds = {"run": RunConfig, "network": NetworkConfig, "optimiser": OptimiserConfig, "data": DataConfig}
    tables: dict[str, Any] = {}
    for name, kind in kinds.items():
        values = record["config"][name].items()
        tables[name] = kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values})
    return Config(**tables)


def _check_patients(record: Mapping[str, Any], bank: Bank) -> None:
    """Raise InputError if a test patient of the bank was used in training."""
    trained = {line["patient"] for line in record["pack"]["slices"]}
    if both := sorted(trained & {bank.slices[index].patient for index in bank.indices("test")}):
        raise InputError(
            f"{both[0]} was used in training and is a test patient of the bank: use a bank with the same split"
        )
