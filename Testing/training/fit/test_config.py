"""Configurations: which values are accepted, and the seven arms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from bioatt.core.errors import InputError
from bioatt_training.adversarial.methods import METHODS
from bioatt_training.fit.arms import ARMS, arm_network
from bioatt_training.fit.config import Config, LossName
from bioatt_training.fit.objectives import LOSSES

CONFIGS = Path(__file__).parents[3] / "Training" / "configs"
RUN = '[run]\nname = "a"\nversion = "1"\n'
DATA = '[data]\nbank = "b"\n'


@pytest.fixture
def read(tmp_path):
    def reading(text: str) -> Config:
        path = tmp_path / "config.toml"
        path.write_text(text)
        return Config.read(path)

    return reading


@pytest.mark.parametrize("name", sorted(path.name for path in CONFIGS.glob("*.toml")))
def test_every_configuration_of_the_project_is_one(name):
    config = Config.read(CONFIGS / name, METHODS)
    assert config.run.name
    if config.data.sampling == "random":
        assert config.optimiser.steps % config.run.validate_every == 0


def test_the_paper_s_recipe():
    config = Config.read(CONFIGS / "paper.toml")
    optimiser, data = config.optimiser, config.data
    assert (optimiser.algorithm, optimiser.learning_rate, optimiser.minimum_learning_rate) == ("adam", 1e-5, 1e-10)
    assert (optimiser.schedule, optimiser.halve_every, optimiser.early_stop) == ("halving", 5, 7)
    assert (optimiser.loss, optimiser.margin, data.batch, data.sampling) == ("mse", 0, 16, "grid")
    assert (config.network.filters, config.run.ema_decay, data.prior_alignment) == (96, 0, "slice")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not toml [", "not TOML"),
        ("[runn]\nname='a'", "runn"),
        ("[run]\nnam='a'", "nam"),
        ("[run]\n", "lacks"),
        (RUN, "lacks a key"),
        (RUN + "seed = 'one'\n" + DATA, "seed is 'one': use int"),
        (RUN + "compile = true\n" + DATA, "unknown key 'compile'"),
        (RUN + DATA + "[optimiser]\nschedule = 'constant'", "use 'one_cycle'"),
        (RUN + DATA + "doses = 0.5", "use a list"),
        (RUN + DATA + "doses = [0.5]", "two dose fractions"),
        (RUN + DATA + "batch = 0", "1 or more"),
        (RUN + DATA + "validation_patches = 0", "validation_patches must be 1"),
        (RUN + "seed = -1\n" + DATA, "seed must be 0"),
        (RUN + "ema_decay = 2.0\n" + DATA, "ema_decay must lie"),
        (RUN + DATA + "[optimiser]\nmargin = -3", "margin must be 0"),
        (RUN + DATA + "[optimiser]\nlearning_rate = -1", "learning_rate must be above"),
        (RUN + DATA + "prior_perturbation = -0.1", "prior_perturbation must lie between"),
        (RUN + DATA + "[network]\narm = 'bio'", "use 'base'"),
        (RUN + DATA + "[optimiser]\nsteps = 5\nepochs = 5", "keep one"),
        (RUN + DATA + "sampling = 'grid'\n[network]\nlayout = 'unet'", "multiple of 4"),
        (RUN + DATA + "patch = 130\n[network]\nlayout = 'unet'", "multiple of 4"),
        (RUN + DATA + "sampling = 'grid'\n[optimiser]\nmargin = 28", "margin"),
        (RUN + DATA + "sampling = 'whole'", "whole"),
        ("run = 3\n", "run is 3: make it a table"),
        ("[[run]]\nname = 'a'\n", "make it a table"),
        (RUN + "save_every = -1\n" + DATA, "save_every must be 0"),
        (RUN + DATA + "[optimiser]\nsteps = -500", "steps must be 0"),
        (RUN + DATA + "[optimiser]\nepochs = -2", "epochs must be 0"),
        (RUN + DATA + "[optimiser]\nearly_stop = -1", "early_stop must be 0"),
        (RUN + DATA + "[optimiser]\nplateau_patience = -1", "plateau_patience must be 0"),
        (RUN + DATA + "[optimiser]\nhalve_every = 0", "halve_every must be 1"),
        (RUN + DATA + "[optimiser]\nlearning_rate = nan", "learning_rate must be above 0"),
        (RUN + DATA + "[optimiser]\ngradient_clip = -1", "gradient_clip must be 0"),
        (RUN + DATA + "workers = -1", "workers must be 0"),
        (RUN + DATA + "epoch_patches = -1", "epoch_patches must be 0"),
    ],
)
def test_wrong_configurations_are_refused(read, text, message):
    with pytest.raises(InputError, match=message):
        read(text)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be opened"):
        Config.read(tmp_path / "none.toml")


def test_a_file_of_another_encoding_is_refused(tmp_path):
    path = tmp_path / "latin.toml"
    path.write_bytes((RUN + "# Größe\n" + DATA).encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.toml is not UTF-8 text"):
        Config.read(path)


def test_zeros_that_mean_none_are_kept(read):
    text = RUN + "save_every = 0\n" + DATA + "workers = 0\n"
    optimiser = read(text + "[optimiser]\nsteps = 0\nepochs = 0\nearly_stop = 0\ngradient_clip = 0").optimiser
    assert (optimiser.steps, optimiser.epochs, optimiser.early_stop, optimiser.gradient_clip) == (0, 0, 0, 0)


def test_the_arm_brings_its_sampling(read):
    text = RUN + DATA + "sampling = 'grid'\nbatch = 16\n[network]\narm = '{}'\n[optimiser]\nmargin = 0"
    whole = read(text.format("whole"))
    assert (whole.data.sampling, whole.data.batch) == ("whole", 1)
    assert read(text.format("bioatt")).of_arm("whole") == whole
    assert read(text.format("bioatt")).of_arm("base") == read(text.format("base"))
    with pytest.raises(InputError, match="unknown arm"):
        whole.of_arm("organ")


def test_numbers_without_a_point_are_numbers(read):
    assert read(RUN + "ema_decay = 0\n" + DATA).run.ema_decay == 0.0


def test_the_arms_are_table_1_s_and_have_its_sizes(read):
    assert list(ARMS) == ["base", "channel", "spatial", "whole", "uniform", "random", "bioatt"]
    network = read(RUN + DATA).network
    sizes = {
        arm: sum(p.numel() for p in arm_network(replace(network, arm=arm), 17).parameters())
        for arm in ("base", "uniform", "random", "bioatt", "whole")
    }
    assert sizes == {"base": 1848865, **dict.fromkeys(("uniform", "random", "bioatt", "whole"), 1852197)}


def test_every_loss_has_a_name():
    assert set(LOSSES) == set(get_args(LossName))
