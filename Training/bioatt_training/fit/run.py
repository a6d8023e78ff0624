"""Train a model from its configuration, resume an interrupted run, and export the weights."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bioatt.compute.device import cpu_has_bf16, tune_cpu
from bioatt.core.errors import InputError
from bioatt.inference.models import load_model, save_model
from bioatt.io.files import atomic_write
from bioatt.network import BioAttNetwork
from bioatt_training.fit.arms import ARMS, arm_network
from bioatt_training.fit.checkpoints import BEST, LAST, Checkpoints, Patience, WholeFiles, epoch_checkpoint
from bioatt_training.fit.config import Config
from bioatt_training.fit.experiment import Experiment
from bioatt_training.fit.history import History, Progress
from bioatt_training.fit.lightning_import import callbacks, lightning, loggers
from bioatt_training.fit.loaders import RunData
from bioatt_training.run_guard import guard_run


def fit(config: Config, folder: Path, *, devices: int = 1, nodes: int = 1) -> Path:
    """Train into `folder` (checkpoints, logs), resuming its last checkpoint; returns the exported model file.

    The same folder, configuration and data give the same weights on the same machine. devices, nodes: processes of a
    node, and nodes, that share each batch (Lightning's DDP; all call this function, and the first of them exports).
    Raises InputError if configuration and data do not match, the folder holds a run with another configuration or data,
    a file has the folder's name, or no validation loss is finite.
    """
    tune_cpu()
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    data = config.method.data(config) if config.method else RunData(config)
    lightning.seed_everything(config.run.seed, workers=True)
    experiment = _experiment(config, data)
    # last, so that a folder does not record an invalid configuration and then refuse the corrected one
    guard_run(folder / "config.json", _noted(config), "another configuration")
    guard_run(folder / "bank.txt", data.identity, "other data")
    trainer = lightning.Trainer(
        default_root_dir=folder,
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if devices * nodes > 1 else "auto",
        use_distributed_sampler=False,  # TrainingBatches gives each process its share
        plugins=[WholeFiles()],
        max_steps=data.steps,
        precision=precision(config),
        logger=loggers.TensorBoardLogger(folder, name="logs", version=""),
        callbacks=_callbacks(config, folder, data.epoch_steps),
        val_check_interval=data.epoch_steps,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=min(50, data.epoch_steps),
        gradient_clip_val=config.optimiser.gradient_clip or None,
        deterministic="warn",
        enable_model_summary=False,
        enable_progress_bar=False,  # for Lightning, the whole run is one epoch
    )
    last = folder / LAST
    try:
        trainer.fit(experiment, datamodule=data, ckpt_path=last if last.is_file() else None)
    except SystemExit:
        raise KeyboardInterrupt from None  # which Lightning turned into exit status 1
    if trainer.is_global_zero:
        if not (folder / BEST).is_file():
            raise InputError("no validation of the run gave a finite value: lower the learning rate")
        for epoch in config.run.keep_epochs:
            if (folder / epoch_checkpoint(epoch)).is_file():
                export(config, data, folder / epoch_checkpoint(epoch), epoch_model(config, folder, epoch))
        export(config, data, folder / BEST, _model(config, folder))
    trainer.strategy.barrier("exported")  # the other processes may read it immediately
    return _model(config, folder)


def _experiment(config: Config, data: RunData) -> Experiment:
    """The experiment with its initial weights. Raises InputError if the given model does not match."""
    build = config.method.experiment if config.method else Experiment
    experiment = build(config, len(data.descriptors), data.steps, data.epoch_steps)
    if config.run.initial:
        initial = _initial(config.run.initial, experiment.network, data.descriptors)
        experiment.network.load_state_dict(initial.state_dict())
    return experiment


def _initial(model: str, network: BioAttNetwork, descriptors: tuple[str, ...]) -> BioAttNetwork:
    """The network of a model.

    Raises InputError if it is of another kind, or its maps have other descriptors or another order.
    """
    given = load_model(model)
    if given.network.kind != network.kind:
        raise InputError(
            f"[run] initial is a {given.network.kind}, the configuration's network a {network.kind}: use the same kind"
        )
    if given.descriptors and given.descriptors != descriptors:
        raise InputError("[run] initial has other descriptors than the bank, or in another order: use another model")
    return given.network


def _model(config: Config, folder: Path) -> Path:
    return folder / f"{config.run.name}.safetensors"


def epoch_model(config: Config, folder: Path, epoch: int) -> Path:
    """Path of the model of an epoch in `keep_epochs`; early stopping may skip later ones."""
    return folder / f"{config.run.name}-epoch-{epoch:03d}.safetensors"


def _callbacks(config: Config, folder: Path, epoch_steps: int) -> list[Any]:
    columns = config.method.columns if config.method else ()
    chosen: list[Any] = [
        History(folder, epoch_steps, columns),
        callbacks.LearningRateMonitor("step"),
        Progress(epoch_steps),
    ]
    if config.run.ema_decay:
        chosen.append(callbacks.EMAWeightAveraging(decay=config.run.ema_decay))
    if config.optimiser.early_stop:
        chosen.append(
            Patience(
                config.optimiser.monitor, min_delta=config.optimiser.min_delta, patience=config.optimiser.early_stop
            )
        )
    return [*chosen, Checkpoints(config, folder, epoch_steps)]


def precision(config: Config) -> Any:
    """Lightning's name of the precision; "auto" is bf16 only if the hardware supports it."""
    if config.run.precision != "auto":
        return config.run.precision
    on_gpu = torch.cuda.is_available()
    native = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else cpu_has_bf16()
    return "bf16-mixed" if native else "32-true"


def _noted(config: Config) -> str:
    """The configuration as JSON, with the initial model identified by its SHA-256 instead of its path."""
    said = asdict(config)
    if config.method is None:
        del said["method"]
    if config.run.initial:
        said["run"]["initial"] = load_model(config.run.initial).sha256
    return json.dumps(said, indent=1)


def export(config: Config, data: RunData, checkpoint: Path, path: Path) -> None:
    """Write a checkpoint's weights as a trained-model file with its description."""
    held: Mapping[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    network = arm_network(config.network, len(data.descriptors))
    weights = {name: value for name, value in held["state_dict"].items() if name.startswith("network.")}
    network.load_state_dict({name.removeprefix("network."): value for name, value in weights.items()})
    metadata = {
        "version": config.run.version,
        "descriptor_set": data.bank.header["descriptor_set"],
        "descriptors": list(data.descriptors) if ARMS[config.network.arm].uses_prior else [],
        "prior": data.bank.header["prior"],
        "training": {**data.description(), "arm": config.network.arm, "seed": config.run.seed},
        "metrics": {"best_step": held["global_step"]},
    }
    if config.run.initial:
        before = load_model(config.run.initial).metadata.get("training", {})
        metadata["training"] |= _widened(metadata["training"], before)
    sha256 = save_model(path, network, metadata)
    with atomic_write(path.with_suffix(".json")) as partial:
        partial.write_text(json.dumps({"sha256": sha256, **metadata}, indent=1), encoding="utf-8")


def _widened(training: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The union of the noise, dose and prior ranges of this run and of the model it starts from."""
    both = {key: (training[key], other[key]) for key in ("noise_hu", "doses") if key in training and key in other}
    widened: dict[str, Any] = {key: [min(a[0], b[0]), max(a[1], b[1])] for key, (a, b) in both.items()}
    rises = [one.get("prior_rise", 1.0) for one in (training, other)]
    return widened | {"prior_rise": max(rises)}
