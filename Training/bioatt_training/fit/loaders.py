"""Numbered batches of a run, identical in every process, so that an interrupted run resumes at the next one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from bioatt.core.errors import InputError
from bioatt_training.data.bank import DOSE, Bank
from bioatt_training.fit.config import Config, DataConfig
from bioatt_training.fit.grid import GridDataset, SliceDataset, grid_corners
from bioatt_training.fit.lightning_import import lightning
from bioatt_training.fit.patches import PatchDataset
from bioatt_training.fit.ranges import training_ranges

STEPS = 10_000
"""Default length of a run."""


class RunData(lightning.LightningDataModule):
    """The batches of a run, and the data description for its model file.

    steps: total; epoch_steps: interval between validations. Raises InputError if the last steps would not be validated.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.bank = config.data, Bank(Path(config.data.bank))
        self.seed, self.knows_noise = config.run.seed, config.network.knows_noise
        self.train = self._training()
        self.validation = _evenly(self._dataset("validation", 0), config.data)
        if config.data.sampling == "random":
            self.epoch_steps = config.run.validate_every
        else:
            passes = len(self.train) * config.data.repeats
            self.epoch_patches = min(config.data.epoch_patches or passes, passes)
            self.epoch_steps = self.epoch_patches // config.data.batch
            if not self.epoch_steps:
                raise InputError(f"an epoch has only {self.epoch_patches} patches: choose a smaller batch")
        epochs = config.optimiser.epochs
        self.steps = epochs * self.epoch_steps if epochs else config.optimiser.steps or STEPS
        if self.steps % self.epoch_steps:
            what = "[run] validate_every" if config.data.sampling == "random" else "the steps of an epoch,"
            raise InputError(
                f"[optimiser] steps {self.steps} is not a multiple of {what} {self.epoch_steps}: "
                f"the last {self.steps % self.epoch_steps} would not be validated"
            )

    def _training(self) -> Any:
        """The numbered patches to train on."""
        return self._dataset("train", self.seed)

    def _dataset(self, part: str, seed: int) -> PatchDataset | SliceDataset:
        config = self.config
        if config.sampling == "random":
            count = config.validation_patches
            return PatchDataset(self.bank, config, part, count, seed, knows_noise=self.knows_noise)
        kind = GridDataset if config.sampling == "grid" else SliceDataset
        return kind(self.bank, part, augment=part == "train", seed=seed, alignment=config.prior_alignment)

    @property
    def identity(self) -> str:
        """Fingerprint of the data."""
        return self.bank.identity

    @property
    def descriptors(self) -> tuple[str, ...]:
        """Names of the prior's columns."""
        return tuple(self.bank.header["descriptors"])

    def epoch(self, number: int) -> NDArray[np.int64]:
        """The patches of an epoch in order, dropping an incomplete last batch."""
        if self.config.sampling == "random":
            count = self.epoch_steps * self.config.batch
            return np.arange(number * count, (number + 1) * count)
        passes = len(self.train) * self.config.repeats
        order = np.random.default_rng([self.seed, number]).permutation(passes)[: self.epoch_patches]
        return order + number * passes

    def train_dataloader(self) -> DataLoader:
        """This process's share of every batch of the run."""
        trainer = self.trainer
        rank, processes = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        return ResumableLoader(self.train, TrainingBatches(self, rank, processes), self.config.workers)

    def val_dataloader(self) -> DataLoader:
        """This process's share of the validation patches, always the same."""
        trainer = self.trainer
        rank, processes = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        count = len(self.validation)  # type: ignore[arg-type]
        batches = np.array_split(np.arange(count), math.ceil(count / max(self.config.batch, processes)))
        if min(len(batch) for batch in batches) < processes:
            raise InputError(
                f"{count} validation patches cannot be split among {processes} processes: use fewer processes"
            )
        shares = [np.array_split(batch, processes)[rank].tolist() for batch in batches]
        return DataLoader(
            self.validation,
            batch_sampler=shares,
            num_workers=self.config.workers,
            persistent_workers=self.config.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def description(self) -> dict[str, Any]:
        """Ranges of the training slices, which `bioatt.inference.suitability` compares with a scan."""
        slices = [self.bank.slices[index] for index in self.bank.indices("train")]
        return training_ranges(slices, self.config, self.bank.header.get("dose_fraction", DOSE), len(self.descriptors))


def _evenly(dataset: PatchDataset | SliceDataset, config: DataConfig) -> Dataset:
    """Evenly spaced `validation_patches` of a grid, or whole slices with that many cells."""
    if config.sampling == "random" or not config.validation_patches:
        return dataset
    count = config.validation_patches
    if config.sampling == "whole":
        assert isinstance(dataset, SliceDataset)
        height, width = dataset.places[0, 3:].tolist()
        count = math.ceil(count / len(grid_corners((height, width))))
    kept = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)
    return Subset(dataset, np.unique(kept).tolist())


class TrainingBatches(Sampler[list[int]]):
    """One process's share of the run's batches; the shares of all processes form the batch of a single one.

    first: the batch to start with. Raises InputError if the processes cannot share a batch evenly.
    """

    def __init__(self, data: RunData, rank: int, processes: int) -> None:
        if data.config.batch % processes:
            raise InputError(f"[data] batch is {data.config.batch}: {processes} processes cannot share it evenly")
        self.data, self.rank, self.share, self.first = data, rank, data.config.batch // processes, 0

    def __iter__(self) -> Iterator[list[int]]:
        epoch_steps, batch = self.data.epoch_steps, self.data.config.batch
        order, epoch = np.empty(0, np.int64), -1
        for step in range(self.first, len(self)):
            if step // epoch_steps != epoch:
                epoch = step // epoch_steps
                order = self.data.epoch(epoch)
            start = (step % epoch_steps) * batch + self.rank * self.share
            yield order[start : start + self.share].tolist()

    def __len__(self) -> int:
        return self.data.steps


class ResumableLoader(DataLoader):
    """Batches in order, with a state that lets the trainer resume from a checkpoint."""

    def __init__(self, dataset: Dataset, batches: TrainingBatches, workers: int = 0) -> None:
        self._numbers, self._given = batches, 0
        super().__init__(dataset, batch_sampler=batches, num_workers=workers, pin_memory=torch.cuda.is_available())

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self._given = self._numbers.first
        for batch in super().__iter__():
            self._given += 1
            yield batch
        self._numbers.first = 0

    def state_dict(self) -> dict[str, int]:
        """Number of batches so far."""
        return {"batches": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Start the next iteration after that many batches."""
        self._numbers.first = state["batches"]
