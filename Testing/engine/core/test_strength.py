"""Strength as a value, a level or a noise target, and how much noise a strength removes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bioatt.core.errors import InputError
from bioatt.core.noise import noise_sd
from bioatt.core.noise.removal import measure
from bioatt.core.provenance import strength_note
from bioatt.core.strength import LEVELS, TargetNoise, parse_strength


def test_levels_rise_and_are_shares():
    assert list(LEVELS) == ["low", "medium", "high"]
    assert 0 < LEVELS["low"] < LEVELS["medium"] < LEVELS["high"] < 1


def test_what_a_user_gives_is_a_level_or_a_number():
    assert [parse_strength(given) for given in ("medium", "0.5", 1, np.float32(0.25))] == ["medium", 0.5, 1.0, 0.25]
    for given in ("strong", "1.1", "nan", "-0.1", ""):
        with pytest.raises(InputError, match="strength"):
            parse_strength(given)


@pytest.mark.parametrize("hu", [0.0, -3.0, float("nan"), float("inf")])
def test_a_target_that_is_no_noise_is_refused(hu):
    with pytest.raises(InputError, match="target noise"):
        TargetNoise(hu)


def test_a_strength_is_told_with_what_was_asked_for():
    assert strength_note(0.75, {}) == "strength 0.75"
    assert strength_note(0.6234, {}, "medium") == "strength medium (0.62)"
    assert strength_note(0.4, {}, str(TargetNoise(12.5))) == "strength 12.5 HU (0.40)"
    assert strength_note(0.6234, {"lungs": 0.5}, "medium") == "strength medium (0.62; lungs 0.50)"


@pytest.fixture(scope="module")
def pair():
    """Slices of liver with a vessel and white noise, before and after a network that removes 0.8 of the fine noise
    and a little of the vessel."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:160, :160]
    clean = np.where(np.hypot(y - 80, x - 80) < 12, 160.0, 60.0) + np.where(y < 20, -1000, 0)
    slices = []
    for _ in range(3):
        noise = 20 * rng.normal(size=clean.shape)
        before = (clean + noise).astype(np.float32)
        after = before - 0.8 * (noise - gaussian_filter(noise, 3)) - 0.02 * (clean - gaussian_filter(clean, 3))
        slices.append((before, after.astype(np.float32)))
    return slices


@pytest.mark.parametrize("share", [0.1, 0.25, 0.4, 0.55, 0.7])
def test_a_share_of_the_noise_is_what_its_strength_removes(pair, share):
    removal = measure(pair)
    strength = removal.strength(share)
    assert removal.removed(strength) == pytest.approx(share, abs=1e-3)
    blended = np.stack([before + strength * (after - before) for before, after in pair])
    before = noise_sd(np.stack([before for before, _ in pair]))
    assert before == pytest.approx(20, rel=0.03) == removal.noise_hu
    assert 1 - noise_sd(blended) / before == pytest.approx(share, abs=0.03)


def test_a_share_beyond_the_model_takes_the_strength_that_removes_most(pair):
    removal = measure(pair)
    assert removal.strength(0.95) == pytest.approx(1.0)
    too_much = measure([(before, before + 2 * (after - before)) for before, after in pair])
    assert too_much.strength(0.95) == pytest.approx(0.6, abs=0.1), "beyond it noise comes back, with its sign changed"


def test_nothing_asked_or_nothing_done_is_strength_0(pair):
    assert measure(pair).strength(0.0) == 0
    assert measure([(before, before) for before, _ in pair]).strength(0.5) == 0


def test_the_noise_of_bone_and_air_is_not_measured():
    hu = np.where(np.arange(80) < 40, 900.0, -1000.0) * np.ones((80, 1))
    hu = (hu + np.random.default_rng(0).normal(0, 20, hu.shape)).astype(np.float32)
    assert measure([(hu, 0.9 * hu)]) is None
    assert measure([]) is None
