"""A training configuration: the four tables of a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, get_args, get_origin, get_type_hints

from bioatt.core.errors import InputError
from bioatt.network import LAYOUTS, Layout
from bioatt_training.fit.arms import ARMS, ArmName

if TYPE_CHECKING:
    from bioatt_training.fit.experiment import Experiment
    from bioatt_training.fit.loaders import RunData

GRID_PATCH = 55
"""Side of the paper's patches in pixels (§3.1)."""
Sampling = Literal["random", "grid", "whole"]
Algorithm = Literal["adam", "adamw"]
Schedule = Literal["one_cycle", "cosine", "halving", "plateau"]
LossName = Literal["mse", "relative_mse"]

LEAST = {
    ("run", "seed"): 0,
    ("run", "validate_every"): 1,
    ("run", "save_every"): 0,
    ("network", "filters"): 1,
    **{("optimiser", key): 0 for key in ("steps", "epochs", "early_stop", "plateau_patience", "margin")},
    **{("optimiser", key): 0 for key in ("minimum_learning_rate", "min_delta", "gradient_clip")},
    ("optimiser", "halve_every"): 1,
    ("data", "batch"): 1,
    ("data", "repeats"): 1,
    **{("data", key): 0 for key in ("validation_patches", "epoch_patches", "workers")},
}
"""Lower bounds; NaN is refused too."""


@dataclass(frozen=True)
class RunConfig:
    """Name and seed of a run, initial weights, checkpoints, export and precision.

    initial: model with the same network whose weights training starts from (fine-tuning). validate_every: steps of an
    epoch for random patches, a divisor of the run's steps; otherwise an epoch is one pass over the data. save_every:
    steps between checkpoints within an epoch; 0: only after each validation. export: best: the weights with the lowest
    `monitor`; last: the final weights, for losses without a validation metric. keep_epochs: epochs whose models are
    also exported, as NAME-epoch-003.safetensors. ema_decay: decay of the exponential moving average of the weights that
    is validated and exported; 0: no average. precision: auto: bfloat16 autocast if the hardware supports it, otherwise
    float32.
    """

    name: str
    version: str
    seed: int = 1
    initial: str | None = None
    validate_every: int = 500
    save_every: int = 500
    export: Literal["best", "last"] = "best"
    keep_epochs: tuple[int, ...] = ()
    ema_decay: float = 0.999
    precision: Literal["auto", "32-true"] = "auto"


@dataclass(frozen=True)
class NetworkConfig:
    """The arm of Table 1 to train, its layout (see `bioatt.network`) and number of filters."""

    arm: ArmName = "bioatt"
    layout: Layout = "red_cnn"
    filters: int = 96

    @property
    def block(self) -> int:
        """Patch sides must be multiples of this number of pixels."""
        return LAYOUTS[self.layout].block

    @property
    def knows_noise(self) -> bool:
        """Whether the network has a noise-level input."""
        return LAYOUTS[self.layout].neighbours > 0


@dataclass(frozen=True)
class OptimiserConfig:
    """Loss, optimiser and learning rate.

    steps or epochs: the run's length; at most one of them (default 10,000 steps). margin: border pixels excluded from
    the loss, since they lack the context they have in a whole slice. schedule: one_cycle (Smith 2018) and cosine over
    the run; halving every `halve_every` epochs down to `minimum_learning_rate` (the paper); plateau: halved after more
    than `plateau_patience` epochs without improvement. early_stop: epochs without an improvement of `monitor` by more
    than `min_delta` that end the run; 0: never. monitor: column of metrics.csv whose lowest value selects the best
    checkpoint. val_guarded belongs to the methods of `bioatt_training.adversarial`; it becomes infinite, which ends the
    run, once HU or structures have drifted. gradient_clip: largest norm of the gradient; 0: no limit.
    """

    steps: int = 0
    epochs: int = 0
    algorithm: Algorithm = "adamw"
    learning_rate: float = 1e-3
    schedule: Schedule = "one_cycle"
    halve_every: int = 5
    minimum_learning_rate: float = 0.0
    plateau_patience: int = 5
    early_stop: int = 0
    min_delta: float = 0.0
    monitor: Literal["val_relative", "val_loss", "val_guarded"] = "val_relative"
    gradient_clip: float = 1.0
    loss: LossName = "mse"
    margin: int = 20


@dataclass(frozen=True)
class DataConfig:
    """Training and validation data, `batch` patches per step over all processes.

    sampling: random: random places in the body; grid: the paper's 9×9 grid of 55², shuffled each epoch; whole: whole
    slices. validation_patches: evenly spaced among those available; 0: all (of a grid, or of whole slices cut into that
    grid). workers: processes that prepare batches for each training process; they do not affect the batches.

    Random only: patch, its side. doses: range of dose fractions, uniform on a log scale; validation, and the other
    samplings, use the bank's dose. prior_perturbation: fraction of the patches trained with a perturbed prior (see
    `data.prior_augmentation`).

    Grid and whole only: epoch_patches: random patches (or slices) of an epoch; 0: all. repeats: how often an epoch
    shows each patch, each time in a different orientation (the authors stored 3 copies). prior_alignment: slice: each
    slice has its own prior; position: the n-th slice of a part has the n-th row of the table of all slices, as in the
    authors' code.
    """

    bank: str
    sampling: Sampling = "random"
    batch: int = 8
    validation_patches: int = 256
    workers: int = 0
    patch: int = 128
    doses: tuple[float, ...] = (0.1, 0.6)
    prior_perturbation: float = 0.3
    epoch_patches: int = 0
    repeats: int = 1
    prior_alignment: Literal["slice", "position"] = "slice"


class Method(Protocol):
    """A training method other than a supervised loss on pairs: a frozen dataclass, the fifth table of a TOML file.

    columns: columns of metrics.csv in addition to those of every run.
    """

    columns: ClassVar[tuple[str, ...]]

    def check(self, config: Config) -> None:
        """Raise InputError if it is incompatible with the other tables."""

    def data(self, config: Config) -> RunData:
        """The batches for training and validation."""

    def experiment(self, config: Config, descriptors: int, steps: int, epoch_steps: int) -> Experiment:
        """The experiment to train."""


@dataclass(frozen=True)
class Config:
    """A training configuration: the tables of a TOML file. method: None for pairs and a loss."""

    run: RunConfig
    network: NetworkConfig
    optimiser: OptimiserConfig
    data: DataConfig
    method: Method | None = None

    def __post_init__(self) -> None:
        optimiser, data = self.optimiser, self.data
        if self.method is not None:
            self.method.check(self)
        elif optimiser.monitor == "val_guarded":
            raise InputError('[optimiser] monitor "val_guarded" requires a method, for example [alden]')
        if optimiser.steps and optimiser.epochs:
            raise InputError("[optimiser] has both steps and epochs: keep one of them")
        self._check_sizes()
        if not 0 <= data.prior_perturbation <= 1:
            raise InputError("[data] prior_perturbation must lie between 0 and 1")
        if not 0 <= self.run.ema_decay < 1:
            raise InputError("[run] ema_decay must lie between 0 and 1")
        if data.sampling == "random" and not data.validation_patches:
            raise InputError("[data] validation_patches must be 1 or more for random patches")
        if not (len(data.doses) == 2 and 0 < data.doses[0] <= data.doses[1] < 1):
            raise InputError("[data] doses must be two dose fractions between 0 and 1, the lower first")
        side = {"random": data.patch, "grid": GRID_PATCH, "whole": GRID_PATCH}[data.sampling]
        if 2 * optimiser.margin >= side:
            raise InputError(f"[optimiser] margin leaves no pixels of {side} px patches: reduce it")
        if data.sampling != "whole" and side % self.network.block:
            raise InputError(
                f"[network] layout {self.network.layout} needs patches whose side is a multiple of "
                f"{self.network.block}, not {side}: change [data] patch, or the sampling"
            )
        if ARMS[self.network.arm].whole != (data.sampling == "whole"):
            raise InputError('the arm "whole" requires [data] sampling = "whole", and only this arm does')

    def _check_sizes(self) -> None:
        for (table, key), least in LEAST.items():
            if not getattr(getattr(self, table), key) >= least:
                raise InputError(f"[{table}] {key} must be {least} or more")
        if not self.optimiser.learning_rate > 0:
            raise InputError("[optimiser] learning_rate must be above 0")

    @classmethod
    def read(cls, path: Path, methods: Mapping[str, Any] | None = None) -> Config:
        """Read a TOML file with these tables; methods: `Method` classes by the name of their table.

        The arm "whole" implies its sampling and a batch of 1. Raises InputError for unknown tables, keys and values,
        and for two methods.
        """
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError:
            raise InputError(f"configuration {path.name} cannot be opened: check the path") from None
        except UnicodeDecodeError:
            raise InputError(f"configuration {path.name} is not UTF-8 text: save it in that encoding") from None
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"configuration {path.name} is not TOML ({error}): correct it") from None
        kinds = {"run": RunConfig, "network": NetworkConfig, "optimiser": OptimiserConfig, "data": DataConfig}
        methods = methods or {}
        if unknown := sorted(tables.keys() - kinds.keys() - methods.keys()):
            known = ", ".join((*kinds, *methods))
            raise InputError(f"configuration {path.name} has an unknown table [{unknown[0]}]: use {known}")
        named = [name for name in methods if name in tables]
        if named[1:]:
            raise InputError(f"configuration {path.name} has both [{named[0]}] and [{named[1]}]: keep one of them")
        parts: dict[str, Any] = {name: _table(kind, name, tables.get(name, {})) for name, kind in kinds.items()}
        if ARMS[parts["network"].arm].whole:
            parts["data"] = _whole(parts["data"])
        return cls(**parts, method=_table(methods[named[0]], named[0], tables[named[0]]) if named else None)

    def of_arm(self, arm: str) -> Config:
        """The same configuration for another arm. Raises InputError for an unknown arm."""
        if arm not in ARMS:
            raise InputError(f"unknown arm {arm!r}: choose one of {', '.join(ARMS)}")
        data = _whole(self.data) if ARMS[arm].whole else self.data
        return replace(self, network=replace(self.network, arm=arm), data=data)


def _whole(data: DataConfig) -> DataConfig:
    return replace(data, sampling="whole", batch=1)


def _table(kind: Any, name: str, table: Any) -> Any:
    if not isinstance(table, dict):
        raise InputError(f"{name} is {table!r}: make it a table, [{name}]")
    known = {field.name for field in fields(kind)}
    if unknown := sorted(table.keys() - known):
        raise InputError(f"[{name}] has an unknown key {unknown[0]!r}: use {', '.join(sorted(known))}")
    hints = get_type_hints(kind)
    values = {key: _value(f"[{name}] {key}", hints[key], value) for key, value in table.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise InputError(f"[{name}] lacks a key ({error})") from None


def _value(what: str, hint: Any, value: Any) -> Any:
    """Convert the TOML value to the field's type; raises InputError if it has another type."""
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise InputError(f"{what} is {value!r}: use {', '.join(map(repr, get_args(hint)))}")
        return value
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise InputError(f"{what} is {value!r}: use a list")
        return tuple(_value(what, get_args(hint)[0], one) for one in value)
    kinds = get_args(hint) or (hint,)
    if float in kinds and type(value) is int:
        return float(value)
    if type(value) not in kinds:
        names = [one.__name__ for one in kinds if one is not type(None)]
        raise InputError(f"{what} is {value!r}: use {' or '.join(names)}")
    return value
