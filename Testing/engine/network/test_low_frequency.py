"""Kept means: a network that keeps them cannot move the HU of anything large, and sees no further than it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from bioatt.network import LAYOUTS, build_network
from bioatt.network.low_frequency import GaussianLowPass

P = torch.tensor([[0.5, 0.3, 0.2]])


def awake(layout, means_px):
    """With random weights everywhere, and a last layer that adds to everything."""
    torch.manual_seed(0)
    network = build_network("bioatt", 4, 3, layout=layout, low_pass_px=means_px).double()
    for parameter in network.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def seen(network, height, width):
    """What the network sees of a slice, random values."""
    count = 2 + 2 * network.neighbours if network.neighbours else 1
    return torch.randn(1, count, height, width, dtype=torch.float64)


def change(network, x):
    with torch.no_grad():
        return (network(x, P.double()) - x[:, :1])[0, 0].numpy()


def test_means_are_a_gaussian_blur_in_float32():
    image = np.random.default_rng(0).normal(size=(60, 70)).astype(np.float32)
    expected = gaussian_filter(image, 3.0, truncate=3.0, mode="constant")
    with torch.autocast("cpu", torch.bfloat16):
        blurred = GaussianLowPass(3.0)(torch.from_numpy(image)[None, None])
    assert blurred.dtype == torch.float32
    np.testing.assert_allclose(blurred[0, 0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_slice_keeps_its_means(layout):
    """Over squares of 40 px hardly anything is left of the change; pixel by pixel it is as large as ever."""
    x = seen(awake(layout, 0.0), 200, 200)
    free, kept = (change(awake(layout, sigma), x)[40:160, 40:160] for sigma in (0.0, 2.0))
    blocks = [abs(one.reshape(3, 40, 3, 40).mean(axis=(1, 3))).max() for one in (free, kept)]
    assert blocks[1] < 0.03 * max(blocks[0], free.std())  # some random networks hardly move means to begin with
    assert kept.std() > 0.5 * free.std()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_halo_holds_the_means(layout):
    network = awake(layout, 2.0)
    halo = network.halo
    assert halo == {"red_cnn": 32, "unet": 60, "slab_unet": 56, "gated_unet": 76}[layout]
    x = seen(network, 2 * halo + 8 + -2 * halo % 4, 40 if layout == "red_cnn" else 8)
    row = halo + 4
    beyond, within = x.clone(), x.clone()
    beyond[0, 0, row + halo + 1 :] += 1000
    beyond[0, 0, : row - halo] -= 1000
    within[0, 0, row + halo - 10 :] += 1000
    before = change(network, x)[row]
    np.testing.assert_allclose((change(network, beyond))[row], before, atol=1e-12)
    assert abs(change(network, within)[row] - before).max() > 1e-9
