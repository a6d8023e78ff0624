"""Measured cost of a training step, a validation patch and an evaluated slice, to plan a budget."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import torch
from torch.nn import functional

from bioatt.compute.device import choose, tune_cpu
from bioatt.inference.models import TrainedModel
from bioatt_training.data.bank import Bank
from bioatt_training.evaluation.judge import Judge, Judgement
from bioatt_training.fit.arms import ARMS, ArmName, arm_network
from bioatt_training.fit.config import Config
from bioatt_training.fit.loaders import RunData
from bioatt_training.fit.run import fit, precision

REPETITIONS = 3


@dataclass(frozen=True)
class Costs:
    """Seconds. step_s by arm: a training step of 16 patches, or of a whole slice; start_s: a run excluding its
    steps.
    """

    step_s: dict[ArmName, float] = field(default_factory=dict)
    validation_s: float = 0.0
    slice_s: float = 0.0
    start_s: float = 0.0


def measure(configs: Sequence[Config]) -> Costs:
    """Costs of one configuration per arm; costs that hardly depend on the arm are measured for the first one.

    Slices are evaluated with an arm that uses a prior, if there is one.
    """
    tune_cpu()
    first = configs[0]
    shown = next((config for config in configs if ARMS[config.network.arm].uses_prior), first)
    start_s = start_seconds(first)
    steps = {config.network.arm: step_seconds(config) for config in configs}
    return Costs(steps, validation_seconds(first), slice_seconds(shown), start_s)


def step_seconds(config: Config) -> float:
    """A training step with its data: the median of three after one warm-up; the mean for slices of many sizes."""
    data, compute = RunData(config), choose()
    network = arm_network(config.network, len(data.descriptors))
    network.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(network.parameters(), lr=0.0)
    batches = iter(data.train_dataloader())
    seconds = []
    for _ in range(REPETITIONS + 1):
        start = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            break
        low, target, p = (part.to(compute.device) for part in batch)
        with _arithmetic(config, compute.device):
            output = network(low, p)
        optimiser.zero_grad()
        functional.mse_loss(output.float(), target).backward()
        optimiser.step()
        _finish(compute.device)
        seconds.append(time.perf_counter() - start)
    kept = seconds[1:] or seconds
    return sum(kept) / len(kept) if ARMS[config.network.arm].whole else median(kept)


def validation_seconds(config: Config) -> float:
    """A validation patch."""
    data, compute = RunData(config), choose()
    network = arm_network(config.network, len(data.descriptors)).to(compute.device)
    start, count = 0.0, 0
    with torch.inference_mode(), _arithmetic(config, compute.device):
        for number, (low, _, p) in enumerate(data.val_dataloader()):
            if number == 1 or not start:  # the first batch is a warm-up if there are more
                start, count = time.perf_counter(), 0
            network(low.to(compute.device), p.to(compute.device))
            count += len(low)
            if number == REPETITIONS:
                break
        _finish(compute.device)
    return (time.perf_counter() - start) / count


def slice_seconds(config: Config) -> float:
    """Evaluation of a test slice, with the paper's protocol and as a whole."""
    bank = Bank(Path(config.data.bank))
    names = tuple(bank.header["descriptors"])
    described = {"descriptors": names, "descriptor_set": bank.header["descriptor_set"]}
    model = TrainedModel(arm_network(config.network, len(names)).eval(), described, "untrained", "")
    judge, indices = Judge(model, bank, Judgement()), bank.indices("test")
    chosen = [indices[int(k * len(indices) / (REPETITIONS + 1))] for k in range(REPETITIONS + 1)]
    judge.patient(chosen[:1])
    start = time.perf_counter()
    judge.patient(chosen[1:])
    return (time.perf_counter() - start) / REPETITIONS


def start_seconds(config: Config) -> float:
    """A run of one step: the overhead of a run."""
    one = replace(
        config,
        data=replace(config.data, epoch_patches=config.data.batch, validation_patches=config.data.batch),
        run=replace(config.run, keep_epochs=(1,)),
        optimiser=replace(config.optimiser, epochs=1),
    )
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        fit(one, Path(folder))
        return time.perf_counter() - start


def _arithmetic(config: Config, device: torch.device) -> AbstractContextManager:
    """The device of the training."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision(config) == "bf16-mixed")


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
