"""A training configuration: the four tables of a TOML file."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, get_args, get_origin, get_type_hints

from bioatt.core.errors import InputError
from bioatt.inference.models import LARGEST_MEANS_PX
from bioatt.network import LAYOUTS, Layout
from bioatt_training.fit.arms import ARMS, ArmName

if TYPE_CHECKING:
    from bioatt_training.fit.experiment import Experiment
    from bioatt_training.fit.loaders import RunData

GRID_PATCH = 55
"""Side of the paper's patches in pixels (§3.1)."""
MEANS_PX = 20
"""Side in pixels of the squares of `means_weight`: about 14 mm, the size of a region of interest."""
Sampling = Literal["random", "grid", "whole"]
Algorithm = Literal["adam", "adamw"]
Schedule = Literal["one_cycle", "cosine", "halving", "plateau"]
LossName = Literal["mse", "relative_mse", "unbiased"]

LEAST = {
    ("run", "seed"): 0,
    ("run", "validate_every"): 1,
    ("run", "save_every"): 0,
    ("network", "filters"): 1,
    ("network", "means_px"): 0,
    ("network", "quiet_means_px"): 0,
    **{("optimiser", key): 0 for key in ("steps", "epochs", "early_stop", "plateau_patience", "margin")},
    **{("optimiser", key): 0 for key in ("minimum_learning_rate", "min_delta", "gradient_clip")},
    **{("optimiser", key): 0 for key in ("floor_hu", "means_weight", "bias_weight")},
    ("optimiser", "halve_every"): 1,
    ("data", "batch"): 1,
    ("data", "repeats"): 1,
    **{("data", key): 0 for key in ("validation_patches", "epoch_patches", "workers")},
}
"""Lower bounds; NaN is refused too."""
ABOVE_ZERO = ("learning_rate", "bias_noise_hu")
"""Numbers of [optimiser] that must be positive."""


@dataclass(frozen=True)
class RunConfig:
    """Name and seed of a run, its initial weights, checkpoints, export and arithmetic.

    initial: model file whose weights training starts from (fine-tuning), of the same network; of a model with two sets
    of weights, the set for high noise. When several stages are trained in one call, each starts from the one before it,
    or from the earlier one named here, for example "stage-1".
    noisy: model file, or earlier stage, whose weights and low-frequency preservation the exported model uses at high
    noise, and this run's at low noise; of the same network and fine-tuned from the same weights (see
    `bioatt.network.interpolation`).
    mixture_noise_hu: noise levels in HU between which the two sets of weights are interpolated: this run's alone up to
    the first, those of `noisy` alone from the second.
    validate_every: steps of an epoch for random patches, a divisor of the run's steps; otherwise an epoch is one pass
    over the data.
    save_every: steps between checkpoints within an epoch; 0: only after each validation.
    export: best: the weights of the lowest `monitor`; last: the final ones, for losses that no validation metric
    measures (`unbiased`).
    keep_epochs: epochs whose models are exported too, as NAME-epoch-003.safetensors.
    ema_decay: decay of the exponential moving average of the weights that is validated and exported; 0: no average.
    precision: auto: bfloat16 autocast where the hardware multiplies it, otherwise float32.
    """

    name: str
    version: str
    seed: int = 1
    initial: str | None = None
    noisy: str | None = None
    mixture_noise_hu: tuple[float, ...] = (15.0, 21.0)
    validate_every: int = 500
    save_every: int = 500
    export: Literal["best", "last"] = "best"
    keep_epochs: tuple[int, ...] = ()
    ema_decay: float = 0.999
    precision: Literal["auto", "32-true"] = "auto"


@dataclass(frozen=True)
class NetworkConfig:
    """Which arm of Table 1 to train, in which layout (see `bioatt.network`), and its number of filters.

    means_px: σ in pixels of the Gaussian of low-frequency preservation (see `BioAttNetwork`); 0: none.
    quiet_means_px: a smaller σ for the exported model's weights at low noise; 0: the same.
    """

    arm: ArmName = "bioatt"
    layout: Layout = "red_cnn"
    filters: int = 96
    means_px: float = 0.0
    quiet_means_px: float = 0.0

    @property
    def block(self) -> int:
        """The sides of patches are multiples of this number of pixels."""
        return LAYOUTS[self.layout].block


@dataclass(frozen=True)
class OptimiserConfig:
    """Loss, optimiser and learning rate.

    steps or epochs: the run's length; at most one of them (10,000 steps where neither is given).
    floor_hu: root mean square error of the input below which `relative_mse` and `unbiased` no longer raise a patch's
    weight.
    means_weight: weight in `relative_mse` of the squared error of means over squares of `MEANS_PX`, relative to that of
    single pixels.
    bias_weight: weight in `unbiased` of the error that two opposite noise realisations of a phantom have in common.
    bias_noise_hu: noise level at which a quarter of that weight is left.
    margin: border pixels left out of the loss, since they lack the context that they have in a whole slice.
    schedule: one_cycle (Smith 2018) and cosine over the run; halving every `halve_every` epochs down to
    `minimum_learning_rate` (the paper); plateau: halved after more than `plateau_patience` epochs without improvement.
    early_stop: epochs without an improvement of `monitor` by more than `min_delta` that end the run; 0: never.
    monitor: column of metrics.csv whose lowest value is the best checkpoint; val_guarded is of the methods of
    `bioatt_training.adversarial`, and infinite, which ends the run, once HU or structures have drifted.
    gradient_clip: largest norm of the gradient; 0: no limit.
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
    floor_hu: float = 20.0
    means_weight: float = 0.0
    bias_weight: float = 4.0
    bias_noise_hu: float = math.inf
    margin: int = 20


@dataclass(frozen=True)
class DataConfig:
    """Training and validation data, `batch` patches per step over all processes.

    sampling: random: random places in the body; grid: the paper's 9×9 grid of 55², shuffled each epoch; whole: whole
    slices.
    validation_patches: evenly spaced among those available; 0: all (of a grid, or of whole slices cut into that grid).
    workers: processes that prepare batches beside each training process; without effect on the batches.

    Random only: patch, its side. doses: range of dose fractions, uniform on a log scale; validation, and the other
    samplings, use the bank's dose. phantom_share: fraction of the patches from phantoms, whose targets are noise-free.
    prior_perturbation: fraction of the patches trained with a perturbed prior (see `data.prior_augmentation`).
    own_noise: of the scan, present in input and target alike: kept, or removed as well (Noisier2Noise, see
    `simulate.targets`), with inserted noise of the scan's own kernel only.
    insert_share, kernel_share: fractions of the training patches with inserted ellipses, or with another kernel (see
    `data.augmentation`). opposite_noise: patches of phantoms come in pairs with noise of opposite sign (see
    `objectives.unbiased`); the batch must be even.

    Grid and whole only: epoch_patches: random patches (or slices) of an epoch; 0: all. repeats: how often an epoch
    shows each patch, each time in another orientation (the authors stored 3 copies). prior_alignment: slice: each
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
    phantom_share: float = 0.2
    prior_perturbation: float = 0.3
    own_noise: Literal["kept", "removed"] = "kept"
    insert_share: float = 0.0
    kernel_share: float = 0.0
    opposite_noise: bool = False
    epoch_patches: int = 0
    repeats: int = 1
    prior_alignment: Literal["slice", "position"] = "slice"


class Method(Protocol):
    """Another way to learn than from pairs with a loss: a frozen dataclass, the fifth table of a TOML file.

    columns: of metrics.csv, beside those of every run.
    """

    columns: ClassVar[tuple[str, ...]]

    def check(self, config: Config) -> None:
        """Raise InputError where it does not go with the other tables."""

    def data(self, config: Config) -> RunData:
        """The batches that it trains and validates on."""

    def experiment(self, config: Config, descriptors: int, steps: int, epoch_steps: int) -> Experiment:
        """What it trains."""


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
            raise InputError('[optimiser] monitor "val_guarded" needs a method, for example [alden]')
        if optimiser.steps and optimiser.epochs:
            raise InputError("[optimiser] has both steps and epochs: name one of them")
        self._check_sizes()
        if data.opposite_noise and data.batch % 2:
            raise InputError("[data] opposite_noise makes pairs of patches: make batch even")
        if optimiser.loss == "unbiased" and not (data.opposite_noise and data.phantom_share):
            raise InputError('[optimiser] loss "unbiased" needs [data] opposite_noise = true and phantoms')
        for share in ("phantom_share", "prior_perturbation", "insert_share", "kernel_share"):
            if not 0 <= getattr(data, share) <= 1:
                raise InputError(f"[data] {share} must lie between 0 and 1")
        if not self.network.quiet_means_px <= self.network.means_px <= LARGEST_MEANS_PX:
            raise InputError(f"[network] quiet_means_px <= means_px <= {LARGEST_MEANS_PX:g} must hold")
        noise = self.run.mixture_noise_hu
        if not (len(noise) == 2 and 0 <= noise[0] < noise[1]):
            raise InputError("[run] mixture_noise_hu must be two noise levels in HU, the lower first")
        if not 0 <= self.run.ema_decay < 1:
            raise InputError("[run] ema_decay must lie between 0 and 1")
        for key in ("own_noise", "insert_share", "kernel_share", "opposite_noise"):
            if data.sampling != "random" and getattr(data, key) != getattr(DataConfig, key):
                raise InputError(f'[data] {key} is for sampling = "random" only: leave it out')
        if data.sampling == "random" and not data.validation_patches:
            raise InputError("[data] validation_patches must be 1 or more for random patches")
        if not (len(data.doses) == 2 and 0 < data.doses[0] <= data.doses[1] < 1):
            raise InputError("[data] doses must be two dose fractions between 0 and 1, the lower first")
        side = {"random": data.patch, "grid": GRID_PATCH, "whole": GRID_PATCH}[data.sampling]
        if 2 * optimiser.margin >= side:
            raise InputError(f"[optimiser] margin leaves no pixels of patches of {side} px: make it smaller")
        if optimiser.means_weight and side - 2 * optimiser.margin < MEANS_PX:
            raise InputError(f"[optimiser] means_weight needs {MEANS_PX} px within the margins: make the patch larger")
        if data.sampling != "whole" and side % self.network.block:
            raise InputError(
                f"[network] layout {self.network.layout} needs patches whose side is a multiple of "
                f"{self.network.block}, not {side}: change [data] patch, or the sampling"
            )
        if ARMS[self.network.arm].whole != (data.sampling == "whole"):
            raise InputError('the arm "whole" is the one trained with [data] sampling = "whole"')

    def _check_sizes(self) -> None:
        for (table, key), least in LEAST.items():
            if not getattr(getattr(self, table), key) >= least:
                raise InputError(f"[{table}] {key} must be {least} or more")
        for key in ABOVE_ZERO:
            if not getattr(self.optimiser, key) > 0:
                raise InputError(f"[optimiser] {key} must be above 0")

    @classmethod
    def read(cls, path: Path, methods: Mapping[str, Any] | None = None) -> Config:
        """Read a TOML file with these tables; methods: `Method` classes by the name of their table.

        The arm "whole" sets its sampling and a batch of 1. Raises InputError for unknown tables, keys and values, and
        for two methods.
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
        """The same training of another arm. Raises InputError for an unknown arm."""
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
        raise InputError(f"[{name}] has an unknown key {unknown[0]!r}: it knows {', '.join(sorted(known))}")
    hints = get_type_hints(kind)
    values = {key: _value(f"[{name}] {key}", hints[key], value) for key, value in table.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise InputError(f"[{name}] lacks a key ({error})") from None


def _value(what: str, hint: Any, value: Any) -> Any:
    """The TOML value as the field's type; InputError where it is another."""
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
