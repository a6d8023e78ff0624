"""A level or target gives one strength per volume, whichever slices are denoised, and removes the noise it promises."""

from __future__ import annotations

import numpy as np
import pytest

from bioatt.core.errors import InputError
from bioatt.core.strength import LEVELS, UNMEASURED, TargetNoise
from bioatt.core.volume import Volume
from bioatt.inference import strength as strengths
from bioatt.inference.denoiser import Denoiser
from bioatt.inference.report import report

LARGE = {"height": 144, "width": 160, "dtype": np.float32}
"""Slices large enough that most pixels are away from the borders, where networks leave more noise."""


@pytest.fixture
def shipped():
    return Denoiser("bioatt-fast", prior="uniform", device="cpu", precision="fp32")


@pytest.fixture
def volume(make_volume):
    """Low noise at one end, high noise at the other."""
    parts = [make_volume(slices=6, noise=noise, seed=int(noise), **LARGE).hu for noise in (25.0, 45.0)]
    return Volume(np.concatenate(parts), spacing=(0.8, 0.8, 3.0))


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_removes_its_share_of_the_noise(shipped, make_volume, level):
    volume = make_volume(slices=3, noise=40.0, **LARGE)
    result = shipped.denoise(volume, strength=level)
    before, after = result.noise
    assert 1 - after / before == pytest.approx(LEVELS[level], abs=5e-3)
    assert result.strength_asked == level
    assert report(result)["strength_asked"] == level


def test_a_target_leaves_the_noise_that_it_names(shipped, make_volume):
    result = shipped.denoise(make_volume(slices=5, noise=40.0, **LARGE), strength=TargetNoise(20.0))
    assert result.noise[1] == pytest.approx(20, rel=5e-3)
    assert result.strength_asked == "20 HU"


def test_one_number_for_the_volume_whichever_slices_are_denoised(shipped, volume):
    whole = shipped.denoise(volume, strength="low")
    assert 0 < whole.strength < 1
    fresh = Denoiser(shipped.model, prior="uniform", device="cpu", precision="fp32")
    for index in (0, 11):
        preview = fresh.preview(volume, index, strength="low")
        assert preview.strength == whole.strength
        np.testing.assert_array_equal(preview.volume.hu[0], whole.volume.hu[index])
    part = shipped.denoise(volume, strength="low", slices=range(3, 5))
    np.testing.assert_array_equal(part.volume.hu, whole.volume.hu[3:5])
    p = np.eye(17, dtype=np.float32)[3]
    assert fresh.preview(volume, 2, strength="low", p=p).strength == whole.strength, "also under a prior by hand"


def test_order_and_plane_of_the_stack_do_not_matter(shipped, volume):
    expected = shipped.denoise(volume, strength="low", slices=range(1)).strength
    head_first = Volume(
        volume.hu[::-1].copy(), volume.spacing, origin=(0, 0, 33.0), direction=np.diag([1.0, 1.0, -1.0])
    )
    coronal = Volume(
        volume.hu.transpose(1, 0, 2).copy(), (0.8, 3.0, 0.8), direction=np.array([[1.0, 0, 0], [0, 0, 1], [0, 1, 0]])
    )
    for other in (head_first, coronal):
        assert shipped.preview(other, 2, strength="low").strength == pytest.approx(expected, rel=1e-5)


def test_five_slices_are_measured_once_and_none_for_a_number(shipped, volume, monkeypatch):
    measured = []
    original = shipped._before_and_after
    monkeypatch.setattr(
        shipped, "_before_and_after", lambda stack, k, asked: measured.append(k) or original(stack, k, asked)
    )
    shipped.preview(volume, 3, strength=0.5)
    assert measured == []
    shipped.preview(volume, 3, strength="medium")
    shipped.preview(volume, 4, strength="high")
    assert measured == [1, 3, 6, 8, 10]
    shipped.preview(volume.with_hu(volume.hu + 1), 3, strength="medium")
    assert len(measured) == 10


@pytest.mark.parametrize(
    ("count", "expected"), [(1, [0]), (3, [0, 1, 2]), (5, [0, 1, 2, 3, 4]), (100, [10, 30, 50, 70, 90])]
)
def test_which_slices_are_measured(make_volume, count, expected):
    volume = make_volume(slices=count, height=4, width=4)
    assert strengths.measured_slices(volume)[1] == expected


def test_what_the_model_cannot_remove_is_said(shipped, make_volume):
    volume = make_volume(slices=2, dtype=np.float32)
    (line,) = [line for line in shipped.denoise(volume, strength=TargetNoise(0.5)).warnings if "at most" in line]
    assert "0.5 HU" in line
    quiet = shipped.denoise(volume, strength=TargetNoise(40.0))
    assert quiet.strength == 0
    assert any("already below 40 HU" in line for line in quiet.warnings)


def test_a_scan_without_soft_tissue_gets_the_levels_usual_strength(shipped):
    y, x = np.mgrid[-1:1:72j, -1:1:72j]
    hu = np.where(x**2 + y**2 < 0.6, 900.0, -1000.0) + np.random.default_rng(0).normal(0, 30, (2, 72, 72))
    bone = Volume(hu.astype(np.float32), spacing=(0.8, 0.8, 3.0))
    result = shipped.denoise(bone, strength="high")
    assert result.strength == UNMEASURED["high"]
    assert any("cannot be measured" in line for line in result.warnings)
    with pytest.raises(InputError, match="cannot be measured"):
        shipped.denoise(bone, strength=TargetNoise(10.0))


def test_an_unknown_level_is_refused(shipped, volume):
    with pytest.raises(InputError, match="low, medium, high"):
        shipped.denoise(volume, strength="strong")
