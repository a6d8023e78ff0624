"""The slab U-net against an independent float64 reference, and which inputs it does and does not depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bioatt.network import ARMS, build_network
from bioatt.network.slab_unet import NEIGHBOURS, NOISE_UNIT_HU, alone

IMAGES = 1 + NEIGHBOURS
PLANES = 2 + 2 * NEIGHBOURS
NEAR = slice(2 + NEIGHBOURS, None)
"""The planes with the nearness of each neighbour."""


def awake(arm="bioatt", filters=3, descriptors=3):
    """Return a network with random weights everywhere, since a fresh one is the identity."""
    torch.manual_seed(0)
    network = build_network(arm, filters, descriptors, layout="slab_unet")
    for parameter in network.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def seen(equations, batch, height, width, near=(0.7, 0.6), noise=0.4):
    """Build input planes like the engine's: random slices, constant noise and nearness."""
    x = equations.random(batch, PLANES, height, width)
    x[:, 1 + NEIGHBOURS] = noise
    x[:, NEAR] = np.reshape(near, (1, -1, 1, 1))
    return x


def reference(equations, network, x, p):
    """The bioatt arm as described in the class."""
    state = equations.weights(network)

    def conv(name, y, padding):
        return equations.convolve(y, state[f"{name}.weight"], state[f"{name}.bias"], padding)

    level = np.log(x[:, 1 + NEIGHBOURS, 0, :1] + 0.01)
    level = equations.relu(level @ state["noise.linear.weight"].T + state["noise.linear.bias"])

    def block(name, y):
        film = (level @ state[f"{name}.film.weight"].T + state[f"{name}.film.bias"])[:, :, None, None]
        factor, offset = np.split(film, 2, axis=1)
        return y + conv(f"{name}.conv2", equations.relu(conv(f"{name}.conv1", y, 1) * (1 + factor) + offset), 1)

    def attend(stage, y, weights):
        projected = equations.relu(conv(f"attention.{stage}.project", y, 0))
        pooled = np.concatenate([y.mean(axis=1, keepdims=True), y.max(axis=1, keepdims=True), projected], axis=1)
        maps = equations.sigmoid(conv(f"attention.{stage}.conv", pooled, 3))
        return y * (1 + state[f"attention.{stage}.gain"] * (maps * weights).sum(axis=1, keepdims=True))

    slices = x[:, 1 : 1 + NEIGHBOURS] - x[:, :1]
    slices[(x[:, NEAR] == 0)] = 0
    image = np.concatenate([x[:, :1], slices], axis=1)
    batch, channels, height, width = image.shape
    blocks = image.reshape(batch, channels, height // 2, 2, width // 2, 2)
    folded = blocks.transpose(0, 1, 3, 5, 2, 4).reshape(batch, 4 * channels, height // 2, width // 2)
    half = conv("stem", np.concatenate([folded, x[:, 1 + NEIGHBOURS :, ::2, ::2]], axis=1), 1)
    coarse = p if p.ndim == 2 else p.reshape(*p.shape[:2], height // 4, 4, width // 4, 4).mean(axis=(3, 5))
    coarse = coarse.reshape(*coarse.shape[:2], *(coarse.shape[2:] or (1, 1)))
    half = attend(
        "middle", block("encoder.0.0", half), coarse.repeat(2, axis=2).repeat(2, axis=3) if p.ndim == 4 else coarse
    )
    pairs = half.reshape(batch, half.shape[1], height // 4, 2, width // 4, 2)
    y = np.einsum("bcyixj,ocij->boyx", pairs, state["down.weight"]) + state["down.bias"][:, None, None]
    y = attend("last", block("encoder.1.1", block("encoder.1.0", y)), coarse)
    fine = np.einsum("bcyx,coij->boyixj", y, state["up.weight"])
    fine = fine.reshape(batch, fine.shape[1], height // 2, width // 2) + state["up.bias"][:, None, None]
    y = conv("tail", block("decoder.0", fine + half), 1)
    unfolded = y.reshape(batch, 2, 2, height // 2, width // 2).transpose(0, 3, 1, 4, 2).reshape(batch, 1, height, width)
    return x[:, :1] + unfolded


@pytest.mark.parametrize("spatial", [False, True])
def test_it_computes_what_it_says(equations, spatial):
    network = awake().double()
    x = seen(equations, 2, 24, 28, near=(0, 0.7))
    p = equations.prior(2, 3)
    if spatial:  # sums below 1: the rest belongs to no descriptor
        p = 0.8 * p[:, :, None, None] * np.random.default_rng(2).random((2, 1, 24, 28))
    with torch.no_grad():
        actual = network(torch.from_numpy(x), torch.from_numpy(p))
    assert (actual - torch.from_numpy(x[:, :1])).abs().max() > 0.1
    np.testing.assert_allclose(actual.numpy(), reference(equations, network, x, p), atol=1e-12)


def test_a_fresh_network_leaves_the_slice_as_it_is(equations):
    x = torch.from_numpy(seen(equations, 1, 32, 32)).float()
    network = build_network("bioatt", 4, 3, layout="slab_unet")
    assert torch.equal(network(x, torch.full((1, 3), 1 / 3)), x[:, :1])


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_keeps_the_size_and_learns(arm, equations):
    network = awake(arm, filters=16, descriptors=4)
    x = torch.from_numpy(seen(equations, 2, 24, 32)).float()
    output = network(x, torch.from_numpy(equations.prior(2, 4)).float())
    assert output.shape == (2, 1, 24, 32)
    output.square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_nothing_beyond_the_halo_is_seen(equations):
    network = awake().double()
    halo = network.halo
    p = torch.from_numpy(equations.prior(1, 3))
    x = torch.from_numpy(seen(equations, 1, 2 * halo + 16, 8))
    with torch.no_grad():
        before = network(x, p)
        for row in range(halo, halo + 4):
            changed = x.clone()
            changed[0, :IMAGES, row + halo + 1 :] += 1000
            changed[0, :IMAGES, : row - halo] -= 1000
            assert torch.equal(network(changed, p)[0, 0, row], before[0, 0, row])
            changed[0, :IMAGES, row + halo - 8 :] += 1000
            assert not torch.equal(network(changed, p)[0, 0, row], before[0, 0, row])


def test_a_neighbour_counts_where_it_is_near_and_nowhere_else(equations):
    network, p = awake(), torch.full((1, 3), 1 / 3)
    x = torch.from_numpy(seen(equations, 1, 32, 32)).float()
    other = x.clone()
    other[0, 1] = 7.0
    assert not torch.equal(network(x, p), network(other, p))
    for one in (x, other):
        one[0, NEAR][0] = 0
    assert torch.equal(network(x, p), network(other, p))


def test_a_slice_alone_is_one_without_neighbours(equations):
    network, p = awake(), torch.full((2, 3), 1 / 3)
    x = equations.random(2, PLANES, 24, 24)
    x[:, NEAR] = 0  # whatever the neighbours' planes hold
    images = torch.from_numpy(x[:, :1]).float()
    for noise_hu, given in ((0.0, images), (30.0, alone(images, 30.0))):
        x[:, 1 + NEIGHBOURS] = noise_hu / NOISE_UNIT_HU
        torch.testing.assert_close(network(given, p), network(torch.from_numpy(x).float(), p), rtol=0, atol=1e-6)
    assert (network(alone(images, 30.0), p) - network(images, p)).abs().max() > 1e-3


def test_features_pass_where_no_descriptor_has_any_weight(equations):
    """With p all zero, the network computes the same as without attention."""
    network = awake().double()
    x = torch.from_numpy(seen(equations, 1, 32, 32))
    plain = awake("base").double()
    plain.load_state_dict({name: one for name, one in network.state_dict().items() if "attention" not in name})
    with torch.no_grad():
        torch.testing.assert_close(network(x, torch.zeros(1, 3).double()), plain(x), atol=1e-12, rtol=0)
        assert (network(x, torch.full((1, 3), 1 / 3).double()) - plain(x)).abs().max() > 1e-3


def test_half_precision_stays_close_to_float32(equations):
    """The slice and the sums of residual blocks stay in float32; bf16 would round 1000 HU to a multiple of 4."""
    network, p = awake(), torch.from_numpy(equations.prior(2, 3)).float()
    x = torch.from_numpy(seen(equations, 2, 32, 32)).float()
    x[:, 0] += 3.0
    kinds = []
    network.tail.register_forward_pre_hook(lambda _layer, inputs: kinds.append(inputs[0].dtype))
    with torch.no_grad():
        exact = network(x, p)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = network(x, p)
    assert half.dtype == torch.float32
    assert kinds == [torch.float32, torch.float32]
    residual = (exact - x[:, :1]).abs().max()
    assert (half - exact).abs().max() < 0.03 * residual


def test_maps_have_the_size_of_their_stage(equations):
    record: dict = {}
    x = torch.from_numpy(seen(equations, 1, 32, 40)).float()
    awake()(x, torch.full((1, 3), 1 / 3), record)
    assert {stage: tuple(maps.shape) for stage, (maps,) in record.items()} == {
        "middle": (1, 3, 16, 20),
        "last": (1, 3, 8, 10),
    }
