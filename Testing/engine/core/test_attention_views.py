"""Views of attention maps and the noise map against values calculated by hand."""

from __future__ import annotations

import numpy as np
import pytest

from bioatt.core.attention_views import contrast, contribution, raw
from bioatt.core.errors import InputError
from bioatt.core.noise import noise_map


def test_raw_and_contributions():
    stored = np.array([[0, 51, 255]], np.uint8)
    np.testing.assert_allclose(raw(stored), [[0, 0.2, 1]], atol=1e-6)
    np.testing.assert_allclose(contribution(stored, 0.5), [[0, 0.1, 0.5]], atol=1e-6)
    by_slice = contribution(np.full((2, 1, 1), 255, np.uint8), np.array([0.25, 0.75])[:, None, None])
    assert by_slice.ravel().tolist() == [0.25, 0.75]


def test_contrast_shows_what_organs_do_not_share():
    shared = np.full((1, 8, 8), 120, np.uint8)
    shared[0, 0] = 0  # air: every map is 0 there
    liver, lungs = shared.copy(), shared.copy()
    liver[0, 4, 4] += 100
    view = contrast({"liver": liver, "lungs": lungs}, "liver")
    assert view[0, 4, 4] == 1
    assert np.abs(np.delete(view.ravel(), 36)).max() == 0
    np.testing.assert_allclose(contrast({"liver": liver, "lungs": lungs}, "lungs"), -view)


def test_contrast_of_equal_or_single_maps():
    stored = np.full((1, 4, 4), 9, np.uint8)
    assert not contrast({"a": stored, "b": stored}, "a").any()
    with pytest.raises(InputError, match="at least one other"):
        contrast({"a": stored}, "a")


def test_views_of_a_results_maps_whatever_the_orientation():
    from bioatt.core.volume import Volume
    from bioatt.inference.attention import UNIFIED, viewed
    from bioatt.priors import Prior

    head_first = np.diag([1.0, 1.0, -1.0])
    hu = np.full((2, 8, 8), 255, np.uint8)
    volume = Volume(hu, spacing=(1.0, 1.0, 2.0), origin=(0.0, 0.0, 0.0), direction=head_first, slice_ids=("a", "b"))
    p = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)  # rows from feet to head
    prior = Prior(p, ("liver", "lungs"), "test", ("b", "a"))
    maps = {("last", name): volume for name in ("liver", "lungs", UNIFIED)}
    found = viewed(maps, "contribution", prior)
    assert found["last", "liver"].hu[:, 0, 0].tolist() == [0.5, 0.25]
    assert found["last", UNIFIED].hu.max() == 1
    assert found["last", "liver"].storage == "float32"
    assert not viewed(maps, "contrast", prior)["last", "lungs"].hu.any()


def test_the_noise_map_follows_the_noise():
    rng = np.random.default_rng(0)
    hu = rng.normal(0, 1, (2, 96, 96)) * np.where(np.arange(96) < 48, 10, 30)
    found = noise_map(hu)
    assert found[:, 10:-10, 10:38].mean() == pytest.approx(9.7, rel=0.08)
    assert found[:, 10:-10, 58:-10].mean() == pytest.approx(29, rel=0.08)
