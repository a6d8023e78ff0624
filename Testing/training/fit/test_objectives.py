"""Losses weigh what their names promise."""

from __future__ import annotations

import pytest
import torch

from bioatt_training.objectives import build_loss, faithful, relative_mse

TARGET = torch.zeros(1, 1, 32, 32)


def noise(hu: float) -> torch.Tensor:
    """A chequerboard: no mean in any block, root mean square `hu`."""
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    return (hu / 500 * (1 - 2 * ((y + x) % 2)))[None, None].float()


def test_a_shift_costs_more_than_noise_of_the_same_size():
    """A wrong HU value over a block costs 1 + 16 times as much as errors that cancel within it."""
    low = noise(50)
    loss = build_loss("faithful", 2.0)
    assert loss(noise(10), TARGET, low) == pytest.approx(float(relative_mse(noise(10), TARGET, low)), rel=1e-5)
    assert loss(TARGET + 10 / 500, TARGET, low) / loss(noise(10), TARGET, low) == pytest.approx(17, rel=1e-4)


@pytest.mark.parametrize("name", ["relative_mse", "faithful"])
def test_below_the_floor_a_patch_weighs_no_more(name):
    """An error of 5 HU costs the same under 1 HU of noise as under 2 HU with a floor of 20 HU, not with one of 1 HU."""
    ratios = {}
    for floor_hu in (20.0, 1.0):
        loss = build_loss(name, floor_hu)
        ratios[floor_hu] = float(loss(noise(5), TARGET, noise(1)) / loss(noise(5), TARGET, noise(2)))
    assert ratios[20.0] == pytest.approx(1, abs=0.01)
    assert ratios[1.0] == pytest.approx(2.5, abs=0.01)


def test_faithful_reports_the_scale_it_is_given():
    low = noise(30)
    assert faithful(low, TARGET, low, floor_hu=30.0) == pytest.approx(0.5, rel=1e-4)
