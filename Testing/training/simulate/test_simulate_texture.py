"""The noise power spectrum, and the kernel estimated from it, even under anatomy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bioatt.core.errors import InputError
from bioatt.simulation.tomography import Geometry, kernel_named
from bioatt_training.simulate.texture import estimate_kernel, fit_texture, peak_frequency, radial_nps
from bioatt_training.simulate.tissue import mode, slice_noise
from bioatt_training.simulate.white import white_image

GEOMETRY = Geometry().coarser(views=4)
PIXEL = 0.8


def noise_of(kernel: str, sigma: float = 15.0) -> np.ndarray:
    """Noise of a kernel, (16, 128, 128) HU."""
    image = white_image(GEOMETRY, kernel_named(kernel), PIXEL)
    return image * (sigma / image.std())


def test_the_spectrum_of_white_noise_is_flat_and_holds_its_variance():
    image = np.random.default_rng(0).normal(0, 10, (12, 128, 128))
    frequency, nps = radial_nps(image, PIXEL)
    assert nps[2:] == pytest.approx(100 * PIXEL**2, rel=0.05)
    assert frequency[-1] == pytest.approx(0.5 / PIXEL, rel=0.05)


def test_the_spectrum_does_not_mind_an_irregular_region():
    image = noise_of("B40")
    y, x = np.mgrid[:128, :128]
    where = np.broadcast_to((np.hypot(x - 64, y - 64) < 50) & ((x // 20) % 3 > 0), image.shape)
    _, whole = radial_nps(image, PIXEL)
    _, part = radial_nps(image, PIXEL, where)
    assert np.abs(part - whole)[2:].max() < 0.12 * whole.max()


@pytest.mark.parametrize("name", ["B20", "B40", "B50", "D45"])
def test_the_kernel_is_found_from_its_noise(name):
    frequency, nps = radial_nps(noise_of(name), PIXEL)
    found, anatomy = fit_texture(frequency, nps, PIXEL)
    wanted = kernel_named(name)
    f = np.linspace(0.1, 0.5, 30)
    shapes = [np.sqrt(f) * kernel.response(f) for kernel in (found, wanted)]
    a, b = (shape / np.linalg.norm(shape) for shape in shapes)
    assert np.linalg.norm(a - b) < 0.08
    assert anatomy[3:].max() < 0.1 * nps.max()


@pytest.mark.parametrize("name", ["B20", "B40", "LUNG"])
def test_the_kernel_is_found_under_anatomy(name):
    noise = noise_of(name)
    rough = np.random.default_rng(5).normal(size=noise.shape)
    anatomy = gaussian_filter(rough, (0, 6, 6))
    hu = (50 + noise + anatomy * (8 / anatomy.std())).astype(np.float32)
    found = estimate_kernel(hu, PIXEL, np.full(len(hu), 15.0))
    f = np.linspace(0.05, 0.6, 200)
    peaks = [f[np.argmax(f * kernel.response(f) ** 2)] for kernel in (found, kernel_named(name))]
    assert peaks[0] == pytest.approx(peaks[1], rel=0.15)


def test_sharper_kernels_have_higher_peaks():
    peaks = [peak_frequency(*radial_nps(noise_of(name), PIXEL)) for name in ("B10", "B30", "B50", "LUNG")]
    assert np.all(np.diff(peaks) > 0)


def test_too_little_tissue_is_refused():
    with pytest.raises(InputError, match="give the kernel"):
        radial_nps(np.zeros((1, 64, 64)), PIXEL, np.zeros((1, 64, 64), bool))


def test_slice_noise_fills_gaps_and_ignores_outliers():
    rng = np.random.default_rng(0)
    hu = 50 + rng.normal(0, 10, (7, 64, 64)).astype(np.float32)
    hu[2] = -1000
    hu[5] = 50 + 5 * (hu[5] - 50)
    assert slice_noise(hu) == pytest.approx(10, rel=0.1)


def test_mode_finds_the_commonest_value():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(10, 0.8, 5000), rng.uniform(2, 60, 4000)])
    assert mode(values[values > 0]) == pytest.approx(10, rel=0.06)
