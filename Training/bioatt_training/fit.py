"""Train one model as its configuration says, go on where a killed run stopped, and export the best weights."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from bioatt.device import cpu_has_bf16, tune_cpu
from bioatt.errors import InputError
from bioatt.models import load_model, save_model
from bioatt_training.cured_lightning import callbacks, lightning, loggers
from bioatt_training.experiment import Experiment, NetworkConfig, OptimiserConfig
from bioatt_training.patches import DataConfig, PatchData


@dataclass(frozen=True)
class RunConfig:
    """What a run is called and how it is kept.

    initial: trained-model file to start from (fine-tuning). validate_every counts steps.
    """

    name: str
    version: str
    seed: int = 1
    initial: str | None = None
    validate_every: int = 500
    ema_decay: float = 0.999


@dataclass(frozen=True)
class Config:
    """A training configuration: the tables of a TOML file."""

    run: RunConfig
    network: NetworkConfig
    optimiser: OptimiserConfig
    data: DataConfig

    @classmethod
    def read(cls, path: Path) -> Config:
        """Read a TOML file with these four tables. Raises InputError for what it does not know."""
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError:
            raise InputError(f"configuration {path.name} cannot be opened: check the path") from None
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"configuration {path.name} is not TOML ({error}): correct it") from None
        kinds = {"run": RunConfig, "network": NetworkConfig, "optimiser": OptimiserConfig, "data": DataConfig}
        parts: dict[str, Any] = {}
        if unknown := sorted(tables.keys() - kinds.keys()):
            raise InputError(f"configuration {path.name} has an unknown table [{unknown[0]}]: use {', '.join(kinds)}")
        for name, kind in kinds.items():
            known = {field.name for field in fields(kind)}
            table = tables.get(name, {})
            if unknown := sorted(table.keys() - known):
                raise InputError(f"[{name}] has an unknown key {unknown[0]!r}: it knows {', '.join(sorted(known))}")
            try:
                parts[name] = kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in table.items()})
            except TypeError as error:
                raise InputError(f"[{name}] of {path.name} lacks a key ({error})") from None
        return cls(**parts)


def fit(config: Config, folder: Path) -> Path:
    """Train into `folder` (checkpoints, logs), resuming its last checkpoint; returns the exported model file.

    The same folder, configuration and data give the same weights on the same machine.
    """
    tune_cpu()
    _claim(folder, config)
    lightning.seed_everything(config.run.seed, workers=True)
    data = PatchData(config.data, config.run.seed, config.optimiser.steps)
    experiment = Experiment(config.network, config.optimiser, len(data.descriptors))
    if config.run.initial:
        experiment.network.load_state_dict(load_model(config.run.initial).network.state_dict())
    on_gpu = torch.cuda.is_available()
    best = callbacks.ModelCheckpoint(
        folder, filename="best", monitor="val_relative", enable_version_counter=False, save_last=True
    )
    trainer = lightning.Trainer(
        default_root_dir=folder,
        max_steps=config.optimiser.steps,
        precision="bf16-mixed" if on_gpu or cpu_has_bf16() else "32-true",
        logger=[kind(folder, name="logs") for kind in (loggers.CSVLogger, loggers.TensorBoardLogger)],
        callbacks=[
            best,
            callbacks.LearningRateMonitor("step"),
            callbacks.EMAWeightAveraging(decay=config.run.ema_decay),
        ],
        val_check_interval=config.run.validate_every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=50,
        gradient_clip_val=1.0,
        enable_model_summary=False,
    )
    last = folder / "last.ckpt"
    trainer.fit(experiment, data.train_loader(), data.validation_loader(), ckpt_path=last if last.is_file() else None)
    return export(config, folder, data)


def _claim(folder: Path, config: Config) -> None:
    """Note whose run a folder holds. Raises InputError where it is another configuration's."""
    note, said = folder / "config.json", json.dumps(asdict(config), indent=1)
    if note.is_file() and note.read_text(encoding="utf-8") != said:
        raise InputError(f"{folder.name} holds a run of another configuration: choose another folder, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(said, encoding="utf-8")


def export(config: Config, folder: Path, data: PatchData) -> Path:
    """Write the best checkpoint so far as a trained-model file."""
    checkpoint = torch.load(folder / "best.ckpt", map_location="cpu", weights_only=True)
    experiment = Experiment(config.network, config.optimiser, len(data.descriptors))
    experiment.load_state_dict(checkpoint["state_dict"])
    metadata = {
        "version": config.run.version,
        "descriptor_set": data.bank.header["descriptor_set"],
        "descriptors": list(data.descriptors) if config.network.arm == "bioatt" else [],
        "prior": data.bank.header["prior"],
        "training": data.description(),
        "metrics": {"best_step": checkpoint["global_step"]},
    }
    path = folder / f"{config.run.name}.safetensors"
    sha256 = save_model(path, experiment.network, metadata)
    (folder / f"{config.run.name}.json").write_text(json.dumps({"sha256": sha256, **metadata}, indent=1))
    return path
