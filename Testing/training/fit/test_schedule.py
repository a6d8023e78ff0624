"""Learning rates over a run."""

from __future__ import annotations

import pytest
import torch

from bioatt_training.fit.config import OptimiserConfig
from bioatt_training.fit.schedule import build_optimiser, build_schedule


def rates(config, steps, epoch_steps=10):
    """The learning rate at each step."""
    optimiser = build_optimiser(config, [torch.nn.Parameter(torch.zeros(1))])
    schedule = build_schedule(config, optimiser, steps, epoch_steps)
    taken = []
    for _ in range(steps):
        taken.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return taken


def test_the_paper_halves_every_five_epochs_down_to_the_floor():
    config = OptimiserConfig(
        algorithm="adam", schedule="halving", learning_rate=1e-5, halve_every=5, minimum_learning_rate=1e-10
    )
    taken = rates(config, 10 * 100)
    assert taken[:50] == pytest.approx([1e-5] * 50)
    assert taken[50:100] == pytest.approx([5e-6] * 50)
    assert taken[950] == pytest.approx(1e-10)  # 1e-5 / 2^19 is below it
    assert min(taken) == pytest.approx(1e-10)


def test_one_cycle_rises_and_falls_over_the_run():
    taken = rates(OptimiserConfig(schedule="one_cycle", learning_rate=1e-3), 100)
    assert max(taken) == pytest.approx(1e-3)
    assert taken.index(max(taken)) == 9
    assert taken[-1] < 1e-6 < taken[0]


def test_cosine_falls_to_the_minimum():
    taken = rates(OptimiserConfig(schedule="cosine", learning_rate=1e-3, minimum_learning_rate=1e-5), 100)
    assert taken[0] == 1e-3
    assert taken[50] == pytest.approx(5.05e-4)
    assert taken[-1] == pytest.approx(1e-5, rel=0.03)


def test_a_plateau_halves_after_more_epochs_than_its_patience():
    config = OptimiserConfig(schedule="plateau", learning_rate=1e-3, plateau_patience=2)
    optimiser = build_optimiser(config, [torch.nn.Parameter(torch.zeros(1))])
    schedule = build_schedule(config, optimiser, 100, 10)
    taken = []
    for loss in (1.0, 1.0, 1.0, 1.0, 0.5, 0.5):
        schedule.step(loss)
        taken.append(optimiser.param_groups[0]["lr"])
    assert taken == pytest.approx([1e-3, 1e-3, 1e-3, 5e-4, 5e-4, 5e-4])


def test_algorithms():
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    adam = build_optimiser(OptimiserConfig(algorithm="adam"), parameters)
    assert type(adam) is torch.optim.Adam
    assert adam.defaults["weight_decay"] == 0
    adamw = build_optimiser(OptimiserConfig(), parameters)
    assert type(adamw) is torch.optim.AdamW
    assert adamw.defaults["weight_decay"] > 0
