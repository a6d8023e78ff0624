"""Variations of a patch: what they leave, what they change, and how sharp what they add is."""

from __future__ import annotations

import numpy as np
import pytest

from bioatt_training.data.augmentation import RANGE_HU, filtered, inserts, kernel_change

SHAPE, PIXEL_MM = (64, 96), 0.7


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_another_kernel_keeps_the_mean_and_adds_up(rng):
    """A filter is linear: scan and noise filtered apart are their sum filtered."""
    scan, noise = (rng.normal(40, 20, SHAPE).astype(np.float32) for _ in range(2))
    for _ in range(10):
        factor = kernel_change(SHAPE, PIXEL_MM, rng)
        assert filtered(scan, factor).mean() == pytest.approx(scan.mean(), abs=1e-3)
        np.testing.assert_allclose(
            filtered(scan, factor) + filtered(noise, factor), filtered(scan + noise, factor), atol=1e-2
        )


def test_kernels_are_made_smoother_and_sharper(rng):
    noise = rng.normal(0, 20, SHAPE).astype(np.float32)
    sigmas = np.array([filtered(noise, kernel_change(SHAPE, PIXEL_MM, rng)).std() for _ in range(60)])
    assert (sigmas < 19).mean() > 0.25
    assert (sigmas > 21).mean() > 0.25


def test_inserts_are_small_things_in_the_tissue(rng):
    scan = np.full(SHAPE, 40, np.float32)
    shares = []
    for _ in range(40):
        added = inserts(scan, PIXEL_MM, "B30", rng)
        touched = np.abs(added) > 2
        shares.append(touched.mean())
        assert touched.any()
    assert 0 < np.median(shares) < 0.4


def test_an_insert_never_leaves_the_range_of_tissue(rng):
    lung, metal = (np.full(SHAPE, hu, np.float32) for hu in (-990, 2400))
    for _ in range(20):
        assert inserts(lung, PIXEL_MM, "B20", rng).min() >= 3 * (RANGE_HU[0] + 990) - 5
        assert inserts(metal, PIXEL_MM, "B20", rng).max() <= 3 * (RANGE_HU[1] - 2400) + 30


def test_a_sharp_kernel_shows_sharper_edges():
    def steepest(kernel: str | None) -> float:
        added = inserts(np.full(SHAPE, 40, np.float32), PIXEL_MM, kernel, np.random.default_rng(3))
        return float(np.abs(np.diff(added, axis=1)).max() / np.abs(added).max())

    assert steepest("B10") < steepest("B40") < steepest("B70")
    assert steepest(None) == steepest("unheard of") == steepest("B40")
