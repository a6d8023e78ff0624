"""The U-net against an independent float64 reference, its halo, and the effect of the paper's attention."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bioatt.network import ARMS, build_network


def awake(arm="bioatt", filters=3, descriptors=3):
    """Return a network with random weights everywhere, since a fresh one is the identity."""
    torch.manual_seed(0)
    network = build_network(arm, filters, descriptors, layout="unet")
    for parameter in network.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def reference(equations, network, x, p):
    """The bioatt arm as described in the class."""
    state = equations.weights(network)

    def conv(name, y, padding):
        return equations.convolve(y, state[f"{name}.weight"], state[f"{name}.bias"], padding)

    def block(name, y):
        return y + conv(f"{name}.conv2", equations.relu(conv(f"{name}.conv1", y, 1)), 1)

    def halved(name, y):
        blocks = y.reshape(*y.shape[:2], y.shape[2] // 2, 2, y.shape[3] // 2, 2)
        return np.einsum("bcyixj,ocij->boyx", blocks, state[f"{name}.weight"]) + state[f"{name}.bias"][:, None, None]

    def doubled(name, y):
        fine = np.einsum("bcyx,coij->boyixj", y, state[f"{name}.weight"])
        return fine.reshape(*fine.shape[:2], 2 * y.shape[2], 2 * y.shape[3]) + state[f"{name}.bias"][:, None, None]

    def attend(stage, y):
        return equations.organ_attention(y, state[f"attention.{stage}.conv.weight"], p[:, :, None, None])[0]

    full = block("encoder.0.0", conv("head", x, 2))
    half = attend("middle", block("encoder.1.0", halved("down.0", full)))
    y = attend("last", block("encoder.2.1", block("encoder.2.0", halved("down.1", half))))
    y = block("decoder.1.0", doubled("up.1", y) + half)
    y = block("decoder.0.0", doubled("up.0", y) + full)
    return conv("tail", y, 1) + x


def test_it_computes_what_it_says(equations):
    network = awake().double()
    x, p = equations.random(2, 1, 24, 28), equations.prior(2, 3)
    with torch.no_grad():
        actual = network(torch.from_numpy(x), torch.from_numpy(p))
    assert (actual - torch.from_numpy(x)).abs().max() > 0.1
    np.testing.assert_allclose(actual.numpy(), reference(equations, network, x, p), atol=1e-12)


def test_a_fresh_network_leaves_the_slice_as_it_is():
    x = torch.randn(1, 1, 32, 32)
    assert torch.equal(build_network("bioatt", 4, 3, layout="unet")(x, torch.full((1, 3), 1 / 3)), x)


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_keeps_the_size_and_learns(arm, equations):
    network = awake(arm, filters=16, descriptors=4)
    output = network(torch.randn(2, 1, 24, 32), torch.from_numpy(equations.prior(2, 4)).float())
    assert output.shape == (2, 1, 24, 32)
    output.square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_nothing_beyond_the_halo_is_seen(equations):
    """For every row of a block, pixels beyond the halo change nothing, and those a few px inside it do."""
    network = awake().double()
    halo = network.halo
    assert halo == 52
    p = torch.from_numpy(equations.prior(1, 3))
    x = torch.randn(1, 1, 2 * halo + 16, 8, dtype=torch.float64)
    with torch.no_grad():
        before = network(x, p)
        for row in range(halo, halo + 4):
            changed = x.clone()
            changed[0, 0, row + halo + 1 :] += 1000
            changed[0, 0, : row - halo] -= 1000
            assert torch.equal(network(changed, p)[0, 0, row], before[0, 0, row])
            changed[0, 0, row + halo - 8 :] += 1000
            assert not torch.equal(network(changed, p)[0, 0, row], before[0, 0, row])


def test_the_prior_of_a_slice_decides(equations):
    network, x = awake(), torch.randn(1, 1, 32, 32)
    one, other = (torch.nn.functional.one_hot(torch.tensor([n]), 3).float() for n in (0, 1))
    assert (network(x, one) - network(x, other)).abs().max() > 1e-3


def test_a_spatial_prior_of_equal_rows_is_the_slice_prior(equations):
    network = awake().double()
    x, p = torch.from_numpy(equations.random(1, 1, 40, 44)), torch.from_numpy(equations.prior(1, 3))
    spread = p[:, :, None, None].expand(1, 3, 40, 44)
    with torch.no_grad():
        torch.testing.assert_close(network(x, p), network(x, spread), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("stage", "scale"), [("middle", 2), ("last", 4)])
def test_maps_lie_where_their_pixels_do(stage, scale):
    """A ramp over the features becomes the same ramp over the pixels that they cover."""
    centres = (torch.arange(40 // scale) + 0.5) * scale - 0.5
    maps = centres[None, :, None].expand(2, 40 // scale, 40 // scale)
    on_pixels = awake().pixel_maps(stage, maps)
    assert on_pixels.shape == (2, 40, 40)
    torch.testing.assert_close(on_pixels[0, 4:-4, 7], torch.arange(4.0, 36.0))


def test_slices_that_are_no_whole_blocks_are_refused():
    with pytest.raises(ValueError, match="multiples of 4"):
        awake()(torch.zeros(1, 1, 62, 64), torch.ones(1, 3) / 3)
