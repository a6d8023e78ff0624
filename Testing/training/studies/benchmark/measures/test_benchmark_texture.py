"""Noise texture: spectra of known noise, and the default strength derived from them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bioatt_training.studies.benchmark.measures.texture import (
    GRID,
    LARGEST_SHIFT,
    STRENGTHS,
    default_strength,
    described,
    repeated_noise,
    shift,
    texture,
)
from bioatt_training.studies.benchmark.tables import strengths

PIXEL_MM = 0.8


@pytest.fixture
def white():
    """White noise of 10 HU in 60 patches."""
    return np.random.default_rng(0).normal(0, 10, (60, 32, 32))


def test_white_noise_has_its_flat_spectrum(white):
    found = described(white, PIXEL_MM)
    curve = np.array(found["curve"], float)
    inside = (GRID > 0.1) & (GRID < 0.6)
    assert curve[inside] == pytest.approx(100 * PIXEL_MM**2, rel=0.1)
    assert found["sigma_hu"] == pytest.approx(10, rel=0.02)
    assert np.isnan(curve[GRID > 0.5 / PIXEL_MM]).all()


def test_a_denoiser_that_scales_the_noise_keeps_its_texture(white):
    found = texture(white, 0.5 * white, PIXEL_MM)
    assert shift(found["input"], found["output"]) == pytest.approx(0, abs=1e-9)
    assert found["output"]["sigma_hu"] == pytest.approx(found["input"]["sigma_hu"] / 2)
    assert default_strength([found]) == 1


def test_a_denoiser_that_smooths_coarsens_it_the_more_the_stronger(white):
    found = texture(white, gaussian_filter(white, (0, 1.5, 1.5)), PIXEL_MM)
    shifts = [shift(found["input"], found["strengths"][f"{strength:g}"]) for strength in STRENGTHS]
    assert shifts == sorted(shifts)
    assert shifts[-1] > LARGEST_SHIFT
    assert found["removed"]["mean_per_mm"] > found["input"]["mean_per_mm"]
    chosen = default_strength([found])
    assert STRENGTHS[0] < chosen < 1
    assert shifts[STRENGTHS.index(chosen)] <= LARGEST_SHIFT
    assert default_strength([found], largest=0) == STRENGTHS[0]


def test_strengths_say_what_each_takes_at_both_doses_and_of_edges(white):
    found = texture(white, 0.5 * white, PIXEL_MM)
    blur = {f"{strength:g}": {"100": 0.4 * (1 - strength / 2), "1000": 0.4} for strength in STRENGTHS}
    inserts = {kind: {"edges": {"input": {"100": 0.4, "1000": 0.4}, **blur}} for kind in ("soft", "sharp")}
    curve = strengths({"soft": {"texture full": found, "texture quarter": found}}, inserts)["curve"]
    assert [row["strength"] for row in curve] == list(STRENGTHS)
    assert [row["noise_full"] for row in curve] == pytest.approx([0.5 * strength for strength in STRENGTHS])
    assert [row["edge_100"] for row in curve] == pytest.approx([1 - strength / 2 for strength in STRENGTHS])
    assert {row["edge_1000"] for row in curve} == {1.0}


def test_the_spread_of_repeats_is_the_noise_without_the_anatomy():
    rng = np.random.default_rng(0)
    anatomy = np.repeat(rng.normal(0, 100, (2, 40, 40)), 4, axis=0)
    noise = repeated_noise(anatomy + rng.normal(0, 7, anatomy.shape), 4)
    assert noise.std() == pytest.approx(7, rel=0.03)
