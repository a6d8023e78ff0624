"""Configuration tables that select a training method: [alden], [unpaired], [low_dose]."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from bioatt.core.errors import InputError
from bioatt_training.adversarial.alden import AldenExperiment
from bioatt_training.adversarial.discriminator import Adversary
from bioatt_training.adversarial.features import BACKBONES, Backbone, load_features
from bioatt_training.adversarial.guard import COLUMNS, GuardedExperiment
from bioatt_training.adversarial.patches import NeighbourPatches, NoisierPatches, UnpairedPatches
from bioatt_training.adversarial.perceptual import DistanceName
from bioatt_training.adversarial.unpaired import UnpairedExperiment
from bioatt_training.data.bank import Bank
from bioatt_training.fit.config import Config
from bioatt_training.fit.experiment import Experiment
from bioatt_training.fit.lightning_import import rank_zero_only
from bioatt_training.fit.loaders import RunData


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """Base of the methods: limits above which `val_guarded` is infinite, see `guard.GuardedExperiment`."""

    columns: ClassVar[tuple[str, ...]] = COLUMNS
    most_drift_hu: float = 10.0
    most_structure: float = 1.1

    def check(self, config: Config) -> None:
        """See `Method`."""
        if config.data.sampling != "random":
            raise InputError(f'[{self.table}] needs [data] sampling = "random"')
        for name, value in vars(self).items():
            if isinstance(value, int | float) and not value >= 0:
                raise InputError(f"[{self.table}] {name} must be 0 or more")

    @property
    def table(self) -> str:
        """Name of the method's table."""
        return next(name for name, kind in METHODS.items() if kind is type(self))

    def data(self, config: Config) -> RunData:
        """See `Method`."""
        return RunData(config)

    def _check_side(self, config: Config, features: Backbone) -> None:
        side, block = config.data.patch - 2 * config.optimiser.margin, BACKBONES[features].block
        if side % block:
            raise InputError(
                f"[{self.table}] features {features} need a multiple of {block} px within a patch's margins, "
                f"not {side}: change [data] patch or [optimiser] margin"
            )


@dataclass(frozen=True, kw_only=True)
class Alden(Guarded):
    """[alden]: pairs, an anatomy-aware discriminator and a contrastive loss; see `alden.AldenExperiment`.

    pixel, perceptual, contrast, adversarial: weights of the terms; 0 disables a term. distance: distance of the
    perceptual term. places, temperature: parameters of the contrast. semantics: whether the discriminator sees the
    reference's features; width: its channels; discriminator_rate: its learning rate relative to the generator's.
    """

    features: Backbone = "efficientnet_lite0"
    pixel: float = 1.0
    perceptual: float = 0.1
    distance: DistanceName = "statistics"
    contrast: float = 0.1
    places: int = 64
    temperature: float = 0.1
    adversarial: float = 0.01
    adversary: Adversary = "hinge"
    semantics: bool = True
    width: int = 64
    discriminator_rate: float = 1.0

    def check(self, config: Config) -> None:
        """See `Method`."""
        super().check(config)
        self._check_side(config, self.features)
        if not (self.places and self.temperature and self.width):
            raise InputError("[alden] places, temperature and width must be above 0")

    def experiment(self, config: Config, descriptors: int, steps: int, epoch_steps: int) -> Experiment:
        """See `Method`."""
        _say(self.features)
        return AldenExperiment(config, descriptors, steps, epoch_steps)


@dataclass(frozen=True, kw_only=True)
class Unpaired(Guarded):
    """[unpaired]: low and full dose of different patients; see `unpaired.UnpairedExperiment`.

    low_bank: a bank (`bioatt-train prepare`) of low-dose scans; "": see `patches.UnpairedPatches`. cycle, identity,
    means, perceptual, adversarial: weights of the terms. Generators start as the identity, the optimum of cycle and
    identity loss, and leave it slowly; Cycle-GAN's weights of 10 and 5 would hold them more strongly. means: penalises
    changes of the mean over squares of 9 pixels (0: off); without it, the generators adopt the other patients' HU.
    replay: earlier fakes kept per batch position. width, discriminator_rate: as in `Alden`.
    """

    low_bank: str = ""
    features: Backbone = "efficientnet_lite0"
    cycle: float = 1.0
    identity: float = 0.5
    means: float = 10.0
    perceptual: float = 0.1
    adversarial: float = 1.0
    adversary: Adversary = "least_squares"
    replay: int = 8
    width: int = 64
    discriminator_rate: float = 1.0

    def check(self, config: Config) -> None:
        """See `Method`."""
        super().check(config)
        self._check_side(config, self.features)
        if not self.width:
            raise InputError("[unpaired] width must be above 0")

    def data(self, config: Config) -> RunData:
        """See `Method`."""
        return UnpairedData(config, Bank(Path(self.low_bank)) if self.low_bank else None)

    def experiment(self, config: Config, descriptors: int, steps: int, epoch_steps: int) -> Experiment:
        """See `Method`."""
        _say(self.features)
        return UnpairedExperiment(config, descriptors, steps, epoch_steps)


@dataclass(frozen=True, kw_only=True)
class LowDose(Guarded):
    """[low_dose]: low dose only. learn: noisier2noise or neighbours (Noise2Noise), see `patches`.

    scanned_low: the bank's scans are low dose; otherwise the bank's quarter-dose noise is added to them.
    """

    learn: Literal["noisier2noise", "neighbours"] = "noisier2noise"
    scanned_low: bool = False

    def data(self, config: Config) -> RunData:
        """See `Method`."""
        return LowDoseData(config, self)

    def experiment(self, config: Config, descriptors: int, steps: int, epoch_steps: int) -> Experiment:
        """See `Method`."""
        experiment = GuardedExperiment(config, descriptors, steps, epoch_steps)
        experiment.method = self
        return experiment


METHODS: Mapping[str, type[Guarded]] = {"alden": Alden, "unpaired": Unpaired, "low_dose": LowDose}


class UnpairedData(RunData):
    """Training on `patches.UnpairedPatches`, validation on pairs."""

    def __init__(self, config: Config, low_bank: Bank | None) -> None:
        self.low_bank = low_bank
        super().__init__(config)

    @property
    def identity(self) -> str:
        return self.bank.identity + (self.low_bank.identity if self.low_bank else "")

    def _training(self) -> Any:
        return UnpairedPatches(self.bank, self.config, self.seed, self.low_bank)


class LowDoseData(RunData):
    """Training on one of `patches.LowDosePatches`, validation on pairs."""

    def __init__(self, config: Config, method: LowDose) -> None:
        self.method = method
        super().__init__(config)

    def _training(self) -> Any:
        kind = NoisierPatches if self.method.learn == "noisier2noise" else NeighbourPatches
        scanned_low = self.method.scanned_low
        return kind(self.bank, self.config, self.seed, scanned_low=scanned_low, knows_noise=self.knows_noise)


@cache
def _say(features: Backbone) -> None:
    """Log the licence and hash of the weights once."""
    rank_zero_only(print)(load_features(features).said, file=sys.stderr)
