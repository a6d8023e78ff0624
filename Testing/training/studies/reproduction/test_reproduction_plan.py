"""Run sizes fit the budget, treat all arms alike, and are stored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bioatt.core.errors import InputError
from bioatt.inference.models import read_model
from bioatt.priors import build_prior
from bioatt_training.data.bank import Bank
from bioatt_training.evaluation.judge import Judge
from bioatt_training.fit.arms import ARMS
from bioatt_training.studies.reproduction.cost import Costs
from bioatt_training.studies.reproduction.plan import (
    BATCH,
    Contents,
    Size,
    budget_size,
    paper_size,
    read_plan,
    write_plan,
)

MAYO = Contents(3795, 3795 * 81, 951 * 81, (500,) * 2)
COSTS = Costs({arm: 0.7 if arm == "whole" else 0.13 for arm in ARMS}, 0.003, 0.6, 4.0)


def spent_s(size, costs, arms, seeds, contents):
    """Expected seconds for all runs of a size."""
    slices = sum(min(count, size.per_patient) for count in contents.test_slices)
    total = 0.0
    for arm in arms:
        steps = size.epoch_slices if arm == "whole" else size.epoch_patches // BATCH
        total += size.epochs * (steps * costs.step_s[arm] + size.validation_patches * costs.validation_s)
        total += slices * costs.slice_s + costs.start_s
    return seeds * total


@pytest.mark.parametrize("minutes", [20, 60, 600, 6000])
def test_the_runs_take_about_the_budget_and_not_more(minutes):
    size = budget_size(minutes, COSTS, tuple(ARMS), 3, MAYO, 32)
    assert 0.6 * 60 * minutes < spent_s(size, COSTS, tuple(ARMS), 3, MAYO) <= 60 * minutes


def test_more_time_is_more_patches_then_more_epochs():
    sizes = [budget_size(minutes, COSTS, ("base", "bioatt"), 1, MAYO, 32) for minutes in (10, 60, 10_000)]
    assert sizes[0].epoch_patches < sizes[1].epoch_patches < sizes[2].epoch_patches <= MAYO.train_patches
    assert sizes[1].epochs < sizes[2].epochs <= 30
    assert sizes[0].per_patient < sizes[1].per_patient


def test_a_budget_too_small_still_makes_a_step():
    size = budget_size(0.01, COSTS, ("base",), 1, MAYO, 4)
    assert (size.epochs, size.epoch_patches, size.per_patient) == (1, BATCH, 1)


def test_arms_differ_in_the_arm_only(tmp_path):
    size = budget_size(60, COSTS, tuple(ARMS), 3, MAYO, 32)
    base = size.config(tmp_path, "base", 2)
    for arm in ARMS:
        config = size.config(tmp_path, arm, 2)
        assert config.optimiser == base.optimiser
        assert config.run == replace(base.run, name=arm)
        if arm != "whole":
            assert config.data == base.data
    whole = size.config(tmp_path, "whole", 2).data
    assert whole.epoch_patches * MAYO.cells == pytest.approx(base.data.epoch_patches, rel=0.05)


def test_without_a_budget_it_is_the_papers_recipe(tmp_path):
    config = paper_size(96).config(tmp_path, "bioatt", 1)
    optimiser = config.optimiser
    assert (optimiser.algorithm, optimiser.learning_rate, optimiser.schedule) == ("adam", 1e-5, "halving")
    assert (optimiser.halve_every, optimiser.minimum_learning_rate, optimiser.early_stop) == (5, 1e-10, 7)
    assert (optimiser.loss, optimiser.margin, config.data.batch, config.run.ema_decay) == ("mse", 0, 16, 0)
    assert config.run.keep_epochs == (1, 5, 10, 20, 30)
    assert config.run.precision == "32-true"


def test_models_are_judged_with_a_prior_of_what_they_are_given(made_up_bank, shifting_model):
    """The bank's prior comes from the full-dose scan, which is not available when denoising."""
    bank = Bank(made_up_bank(test=1))
    judge = Judge(read_model(shifting_model(arm="bioatt")), bank, paper_size(4).judgement)
    index = bank.indices("test")[0]
    volume = judge._images(index)[2]
    expected = build_prior("maps", descriptors=judge.denoiser.descriptors).probabilities(volume).p[0]
    np.testing.assert_array_equal(judge._prior(index, volume), expected)


def test_a_plan_is_kept(made_up_bank, tmp_path):
    bank = Bank(made_up_bank())
    assert read_plan(tmp_path, bank, 32, 60.0) is None
    size = Size("budget", 32, 10, 160, 3, 64, 2)
    write_plan(tmp_path, bank, size, 60.0, COSTS)
    assert read_plan(tmp_path, bank, 32, 60.0) == size
    with pytest.raises(InputError, match="32 filters"):
        read_plan(tmp_path, bank, 96, 60.0)
    for minutes in (None, 90.0):
        with pytest.raises(InputError, match="planned for 60 minutes"):
            read_plan(tmp_path, bank, 32, minutes)
    np.save(tmp_path / "bank" / "prior.npy", bank.prior[::-1])
    with pytest.raises(InputError, match="other data"):
        read_plan(tmp_path, Bank(tmp_path / "bank"), 32, 60.0)


def test_contents_are_counted(made_up_bank):
    contents = Contents.of(Bank(made_up_bank(train=2, validation=1, test=3, slices=2)))
    assert contents == Contents(4, 16, 8, (2, 2, 2))


def test_a_bank_without_test_patients_is_refused(made_up_bank):
    with pytest.raises(InputError, match="no test patches"):
        Contents.of(Bank(made_up_bank(test=0)))
