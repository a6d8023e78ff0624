"""Model observers against closed forms: Gaussian signals in Gaussian noise of known spectrum."""

from __future__ import annotations

import numpy as np
import pytest

from bioatt.core.errors import InputError
from bioatt.physics.channels import differences_of_gaussians, gabor, laguerre_gauss, responses
from bioatt.physics.detectability import disc_task, eye_filter, npwe
from bioatt.physics.fourier_ring import lost_from, ring_correlation
from bioatt.physics.hotelling import paired
from bioatt.physics.nps import Spectrum

SIZE, SIGMA, WIDTH = 33, 20.0, 3.0
"""Side of patches, noise in HU, SD of the Gaussian signal in pixels."""
AMPLITUDE = 8.0
IDEAL = AMPLITUDE * WIDTH * np.sqrt(np.pi) / SIGMA
"""d′ of A exp(−r²/2s²) in white noise: A s √π / σ."""


def _signal():
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    return AMPLITUDE * np.exp(-(x**2 + y**2) / (2 * WIDTH**2))


def _noise(count, seed):
    return np.random.default_rng(seed).normal(0, SIGMA, (count, SIZE, SIZE))


def _own_width():
    """The Laguerre-Gauss width at which the first channel is the signal itself."""
    return WIDTH * np.sqrt(2 * np.pi)


def _seen(channels):
    """d′ of the channels in white noise, √(Δᵀ (σ² U Uᵀ)⁻¹ Δ)."""
    flat = channels.reshape(len(channels), -1)
    delta = flat @ _signal().ravel()
    return float(np.sqrt(delta @ np.linalg.solve(SIGMA**2 * flat @ flat.T, delta)))


CHANNELS = {
    "Laguerre-Gauss": laguerre_gauss(SIZE, _own_width()),
    "differences of Gaussians": differences_of_gaussians(SIZE),
    "Gabor": gabor(SIZE),
}


def test_laguerre_gauss_channels_see_all_of_a_gaussian():
    assert _seen(CHANNELS["Laguerre-Gauss"]) == pytest.approx(IDEAL, rel=1e-3)


@pytest.mark.parametrize("name", CHANNELS)
def test_paired_images_tell_d_of_a_gaussian_in_white_noise(name):
    channels, noise = CHANNELS[name], _noise(1500, 3)
    found = paired(responses(noise, channels), responses(noise + _signal(), channels))
    assert found == pytest.approx(_seen(channels), rel=0.03)


def test_few_images_give_no_bias():
    """With 40 images in 10 channels, the naive estimate of d′² is 1.4 times too high."""
    rng, squares = np.random.default_rng(4), []
    for _ in range(600):
        absent = rng.normal(size=(40, 10))
        squares.append(paired(absent, absent + np.r_[1.5, np.zeros(9)]) ** 2)
    assert np.mean(squares) == pytest.approx(1.5**2, rel=0.05)


def test_pairs_whose_noise_differs_are_not_credited_with_it():
    rng = np.random.default_rng(5)
    squares = [paired(*rng.normal(size=(2, 60, 6))) for _ in range(200)]
    assert np.mean(squares) < 0.25  # d′ is 0; without the correction it is 0.5
    assert np.median(squares) < 0.3


def test_too_few_images_are_refused():
    with pytest.raises(InputError, match="at least"):
        paired(np.zeros((8, 6)), np.zeros((8, 6)))


@pytest.mark.parametrize("colour", ["white", "smooth"])
def test_non_prewhitening_d_is_that_of_the_integral(colour):
    """A Gaussian signal of width s in noise N0 exp(−2π²b²f²): A s √π / √N0 · √(1 + b²/2s²)."""
    frequency = np.linspace(0, 0.7, 400)
    width, blur, level = 2.4, 1.5 * (colour == "smooth"), 180.0
    noise = Spectrum(frequency, level * np.exp(-2 * np.pi**2 * blur**2 * frequency**2))

    def task(f):
        return 6 * 2 * np.pi * width**2 * np.exp(-2 * np.pi**2 * width**2 * f**2)

    expected = 6 * width * np.sqrt(np.pi / level) * np.sqrt(1 + blur**2 / (2 * width**2))
    flat = Spectrum(frequency, np.ones_like(frequency))
    assert npwe(task, flat, noise, eye=False) == pytest.approx(expected, rel=0.01)


def test_a_disc_has_its_area_and_its_first_zero():
    task = disc_task(10.0, 5.0)
    assert task(np.array([0.0]))[0] == pytest.approx(10 * np.pi * 6.25)
    assert task(np.array([1.21967 / 5]))[0] == pytest.approx(0, abs=0.01)


def test_the_eye_sees_four_cycles_per_degree_best():
    frequency = np.linspace(0.01, 2, 4000)
    assert frequency[np.argmax(eye_filter(frequency))] * 500 * np.pi / 180 == pytest.approx(4, rel=0.01)


def test_ring_correlation_is_lost_where_the_noise_takes_over():
    rng = np.random.default_rng(7)
    white = rng.normal(size=(50, 64, 64))
    fy, fx = np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64))
    low = np.fft.ifft2(np.fft.fft2(white) * (np.hypot(fy, fx) < 0.2)).real
    image = low + 1e-3 * rng.normal(size=low.shape)
    found = lost_from(ring_correlation(image, white), 64, 0.5)
    assert np.median(found) == pytest.approx(0.2 / 0.5, rel=0.1)
    assert ring_correlation(white, white) == pytest.approx(1)
