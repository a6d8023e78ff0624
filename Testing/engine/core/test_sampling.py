"""Body weight and noise level from every third pixel match those from the whole slice."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bioatt.core import noise
from bioatt.core.body import FEATHER_PX, MARGIN_PX, body_mask, body_weight
from bioatt.core.noise.sampling import block_means, on_pixels


def torso(height, width, sd=30.0, seed=0):
    """A noisy slice of a body that extends beyond the image, with a lung, an arm and a table."""
    y, x = np.mgrid[:height, :width] / np.array([height, width]).reshape(2, 1, 1) * 2 - 1
    hu = np.full((height, width), -1000.0)
    hu[(x / 0.7) ** 2 + ((y + 0.2) / 0.9) ** 2 < 1] = 40
    hu[((x - 0.3) / 0.2) ** 2 + (y / 0.4) ** 2 < 1] = -850
    hu[((x - 0.9) / 0.06) ** 2 + (y / 0.1) ** 2 < 1] = 20
    hu[int(0.95 * height) : int(0.95 * height) + 2] = 60
    blurred = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=hu.shape), 0.8)
    return (hu + sd * blurred / blurred.std()).astype(np.float32)


@pytest.mark.parametrize("shape", [(180, 240), (181, 242), (97, 128)])
@pytest.mark.parametrize("sd", [5.0, 90.0])
def test_the_weight_is_that_of_the_whole_mask(shape, sd):
    hu = torso(*shape, sd)
    mask = body_mask(hu)
    distance = ndimage.distance_transform_edt(~mask)
    exact = np.clip((MARGIN_PX + FEATHER_PX - distance) / FEATHER_PX, 0, 1)
    weight = body_weight(hu)
    assert (weight[mask] == 1).all()
    assert np.abs(weight - exact).max() <= 0.2


@pytest.mark.parametrize("seed", range(3))
def test_the_noise_level_is_that_of_all_windows(seed):
    hu = torso(240, 300, 12.0, seed)
    mean, variance = noise.local_moments(hu)
    inside = (mean > noise.TISSUE_HU[0]) & (mean < noise.TISSUE_HU[1]) & (variance > noise.LEAST_VARIANCE)
    exact = np.sqrt(np.percentile(variance[inside], noise.PERCENTILE))
    assert noise.noise_level(hu) == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize("shape", [(9, 12), (10, 14)])
def test_means_are_those_around_every_third_pixel_and_come_back(shape):
    image = np.random.default_rng(0).normal(size=shape)
    means = block_means(image, 3)
    np.testing.assert_allclose(means[1, 1], image[:9, :9].mean(), rtol=1e-5)
    fine = on_pixels(means, shape)
    assert fine.shape == shape
    np.testing.assert_allclose(fine[4, 4], means[1, 1])
    ramp = np.add.outer(np.arange(shape[0]), np.arange(shape[1])).astype(np.float32)
    np.testing.assert_allclose(on_pixels(block_means(ramp, 1), shape)[1:8, 1:8], ramp[1:8, 1:8], atol=1e-5)


@pytest.mark.parametrize("offset", [(0, 0), (7, 3), (60, 90)])
def test_the_noise_is_that_of_all_windows_with_soft_tissue(offset):
    """This holds even if little of the slice is body and a strip is narrower than the windows that overlap it."""
    hu = np.full((150, 160), -1000, np.float32)
    y, x = offset
    hu[y : y + 60, x : x + 40] = torso(60, 40, 5.0)
    hu[y + 62, x : x + 30] = 600

    def tissue(image):
        mean, variance = noise.local_moments(image)
        return np.sort(variance[(mean > 0) & (mean < 150)])

    part = noise._around_tissue(hu)
    assert part.size < hu.size / 2
    np.testing.assert_allclose(tissue(part), tissue(hu), rtol=1e-3, atol=0.1)
