"""Weights by noise: each end where it belongs, and what lies between between them."""

from __future__ import annotations

import math

import pytest
import torch

from bioatt.network import InterpolatedWeights, build_network
from bioatt.network.low_frequency import GaussianLowPass


@pytest.fixture
def ends():
    torch.manual_seed(0)
    return tuple(build_network("bioatt", 4, 3) for _ in range(2))


@pytest.mark.parametrize(
    ("noise_hu", "share"), [(5.0, 0.0), (20.0, 0.0), (23.0, 0.25), (26.0, 0.5), (32.0, 1.0), (90.0, 1.0), (math.nan, 0)]
)
def test_a_network_gets_the_weights_of_its_noise(ends, noise_hu, share):
    quiet, noisy = ends
    mixture = InterpolatedWeights(quiet, noisy, (20.0, 32.0))
    network = build_network("bioatt", 4, 3)
    mixture.apply(network, 90.0 if share == 0 else 5.0)  # whatever it was before
    mixture.apply(network, noise_hu)
    for name, value in network.state_dict().items():
        expected = (1 - share) * quiet.state_dict()[name] + share * noisy.state_dict()[name]
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-7)


def test_the_ends_themselves_stay(ends):
    quiet, noisy = ends
    before = {name: value.clone() for name, value in noisy.state_dict().items()}
    InterpolatedWeights(quiet, noisy, (20.0, 32.0)).apply(build_network("bioatt", 4, 3), 25.0)
    assert all(torch.equal(value, before[name]) for name, value in noisy.state_dict().items())


def test_kept_means_are_of_the_scale_that_the_noise_calls_for(ends):
    quiet, noisy = ends
    quiet.preserve_low_frequencies(2.0)
    noisy.preserve_low_frequencies(4.0)
    network = build_network("bioatt", 4, 3, low_pass_px=4.0)
    mixture = InterpolatedWeights(quiet, noisy, (20.0, 32.0))
    for noise_hu, sigma_px in ((5.0, 2.0), (26.0, 3.0), (90.0, 4.0)):
        mixture.apply(network, noise_hu)
        expected = GaussianLowPass(sigma_px)
        assert network.low_pass.radius == 12  # and with it the halo
        inner = network.low_pass.kernel[12 - expected.radius : 13 + expected.radius]
        torch.testing.assert_close(inner, expected.kernel, rtol=0, atol=2e-3)


def test_means_that_only_the_quiet_end_keeps_fade_with_the_noise(ends):
    quiet, noisy = ends
    quiet.preserve_low_frequencies(2.0)
    network = build_network("bioatt", 4, 3, low_pass_px=2.0)
    mixture = InterpolatedWeights(quiet, noisy, (20.0, 32.0))
    x, p = torch.randn(1, 1, 32, 32), torch.full((1, 3), 1 / 3)
    for noise_hu, share in ((90.0, 0.0), (23.0, 0.75), (5.0, 1.0)):
        mixture.apply(network, noise_hu)
        bare = build_network("bioatt", 4, 3)
        bare.load_state_dict(network.state_dict())
        with torch.no_grad():
            taken = bare(x, p) - x
            given_back = bare(x, p) - network(x, p)
        torch.testing.assert_close(given_back, share * GaussianLowPass(2.0)(taken), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("quiet_px", "noisy_px"), [(0.0, 4.0), (5.0, 4.0)])
def test_ends_whose_means_do_not_fit_are_refused(ends, quiet_px, noisy_px):
    quiet, noisy = ends
    quiet.preserve_low_frequencies(quiet_px)
    noisy.preserve_low_frequencies(noisy_px)
    with pytest.raises(ValueError, match="must not be larger"):
        InterpolatedWeights(quiet, noisy, (20.0, 32.0))
