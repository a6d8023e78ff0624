"""The network against an independent float64 reference of the paper's equations, values and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from bioatt.network import (
    ARMS,
    CROP,
    HALO,
    ChannelAttention,
    OrganAttention,
    SpatialAttention,
    build_network,
)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def convolve(x, weight, bias=None, padding=0):
    """Cross-correlation, x (B, C, H, W), weight (O, C, k, k)."""
    k = weight.shape[-1]
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    y = np.einsum("bchwij,ocij->bohw", sliding_window_view(x, (k, k), axis=(2, 3)), weight)
    return y if bias is None else y + bias[None, :, None, None]


def convolve_transposed(x, weight, bias):
    """Transpose of an unpadded cross-correlation, weight (C, O, k, k): full correlation with the flipped kernel."""
    flipped = weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    return convolve(x, flipped, bias, padding=weight.shape[-1] - 1)


def organ_attention(x, weight, p):
    """Equations 3 to 6, with p (B, N, 1, 1) or (B, N, H, W)."""
    pooled = np.stack([x.mean(axis=1), x.max(axis=1)], axis=1)
    maps = sigmoid(convolve(pooled, weight, padding=weight.shape[-1] // 2))
    return x * (maps * p).sum(axis=1, keepdims=True), maps


def reference(network, x, p):
    """The bioatt arm by the text of §2.2–2.3."""
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}

    def conv(i, y):
        return convolve(y, state[f"encoder.{i}.weight"], state[f"encoder.{i}.bias"])

    def deconv(i, y):
        return convolve_transposed(y, state[f"decoder.{i}.weight"], state[f"decoder.{i}.bias"])

    def relu(y):
        return np.maximum(y, 0)

    skip2 = relu(conv(1, relu(conv(0, x))))
    y, _ = organ_attention(relu(conv(2, skip2)), state["attention.middle.conv.weight"], p[:, :, None, None])
    skip4 = relu(conv(3, y))
    y, _ = organ_attention(relu(conv(4, skip4)), state["attention.last.conv.weight"], p[:, :, None, None])
    y = relu(deconv(0, y) + skip4)
    y = relu(deconv(1, y))
    y = relu(deconv(2, y) + skip2)
    y = relu(deconv(3, y))
    return deconv(4, y) + x


def double(network):
    return network.double().eval()


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def prior(batch, n, seed=1):
    p = np.random.default_rng(seed).random((batch, n))
    return p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("arm", "parameters"), [("base", 1_848_865), ("bioatt", 1_852_197)])
def test_size_of_the_paper(arm, parameters):
    assert sum(p.numel() for p in build_network(arm, filters=96, descriptors=17).parameters()) == parameters


def test_organ_attention_follows_equations_3_to_6():
    x, p = random(2, 5, 11, 12), prior(2, 4)
    block = OrganAttention(4).double()
    expected, maps = organ_attention(x, block.conv.weight.detach().numpy(), p[:, :, None, None])
    recorded: list[torch.Tensor] = []
    actual = block(torch.from_numpy(x), torch.from_numpy(p)[:, :, None, None], recorded)
    np.testing.assert_allclose(actual.detach().numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(recorded[0].detach().numpy(), maps, atol=1e-12)


def test_organ_attention_gradients_are_those_of_the_equations():
    """Central differences of the NumPy equations against autograd, for x, p and the kernel."""
    x, p = random(1, 3, 8, 8), prior(1, 2)[:, :, None, None]
    block = OrganAttention(2).double()
    weight = block.conv.weight.detach().numpy().copy()
    direction = random(1, 3, 8, 8, seed=5)
    tensors = [torch.from_numpy(x).requires_grad_(), torch.from_numpy(p).requires_grad_()]
    (block(*tensors) * torch.from_numpy(direction)).sum().backward()
    analytic = [tensors[0].grad, tensors[1].grad, block.conv.weight.grad]
    for which, values in enumerate((x, p, weight)):
        arguments = [x, weight, p]
        slot = (0, 2, 1)[which]
        flat = np.random.default_rng(which).choice(values.size, size=min(values.size, 12), replace=False)
        for position in flat:
            change = np.zeros(values.size)
            change[position] = 1e-6
            change = change.reshape(values.shape)
            loss = [
                (
                    organ_attention(*[*arguments[:slot], values + s * change, *arguments[slot + 1 :]])[0] * direction
                ).sum()
                for s in (1, -1)
            ]
            assert (loss[0] - loss[1]) / 2e-6 == pytest.approx(analytic[which].flatten()[position].item(), abs=1e-6)


def test_spatial_block_is_cbams():
    x = random(2, 6, 9, 10)
    block = SpatialAttention().double()
    expected, _ = organ_attention(x, block.conv.weight.detach().numpy(), np.ones((2, 1, 1, 1)))
    np.testing.assert_allclose(block(torch.from_numpy(x)).detach().numpy(), expected, atol=1e-12)


def test_channel_block_is_squeeze_and_excitation():
    x = random(2, 32, 6, 7)
    block = ChannelAttention(32).double()
    w1, b1, w2, b2 = (parameter.detach().numpy() for parameter in block.parameters())
    assert w1.shape == (2, 32)
    gate = sigmoid(np.maximum(x.mean(axis=(2, 3)) @ w1.T + b1, 0) @ w2.T + b2)
    np.testing.assert_allclose(block(torch.from_numpy(x)).detach().numpy(), x * gate[:, :, None, None], atol=1e-12)


def test_whole_network_follows_the_paper():
    network = double(build_network("bioatt", filters=6, descriptors=3))
    x, p = random(2, 1, 24, 26), prior(2, 3)
    with torch.no_grad():
        actual = network(torch.from_numpy(x), torch.from_numpy(p))
    np.testing.assert_allclose(actual.numpy(), reference(network, x, p), atol=1e-12)


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_keeps_the_size_and_learns(arm):
    torch.manual_seed(1)
    network = build_network(arm, filters=64, descriptors=4)
    output = network(torch.randn(2, 1, 23, 31), torch.from_numpy(prior(2, 4)).float())
    assert output.shape == (2, 1, 23, 31)
    output.square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_the_last_layer_can_go_negative():
    """Standardised air is -1: a final ReLU would turn it into -500 HU."""
    torch.manual_seed(0)
    assert (build_network("base", filters=4)(torch.full((1, 1, 30, 30), -1.0)) < -0.5).any()


def test_receptive_field_is_the_halo():
    """A pixel HALO away changes nothing, one nearer does, so a smaller halo would leave seams."""
    torch.manual_seed(0)
    network = double(build_network("bioatt", filters=8, descriptors=3))
    p = torch.from_numpy(prior(1, 3))
    x = torch.randn(1, 1, 161, 161, dtype=torch.float64)
    reached = []
    for offset in (HALO, HALO + 1):
        changed = x.clone()
        changed[0, 0, 80 + offset, 80 + offset] += 1000
        with torch.no_grad():
            reached.append(not torch.equal(network(x, p)[0, 0, 80, 80], network(changed, p)[0, 0, 80, 80]))
    assert reached == [True, False]


def test_spatial_prior_of_equal_rows_is_the_slice_prior():
    network = double(build_network("bioatt", filters=6, descriptors=3))
    x, p = torch.from_numpy(random(1, 1, 40, 41)), torch.from_numpy(prior(1, 3))
    spread = p[:, :, None, None].expand(1, 3, 40, 41)
    with torch.no_grad():
        torch.testing.assert_close(network(x, p), network(x, spread), atol=1e-12, rtol=0)


def test_recorded_maps_are_cropped_as_documented():
    network = build_network("bioatt", filters=4, descriptors=3)
    record: dict = {}
    network(torch.randn(1, 1, 50, 60), torch.full((1, 3), 1 / 3), record)
    for stage, (maps,) in record.items():
        assert maps.shape == (1, 3, 50 - 2 * CROP[stage], 60 - 2 * CROP[stage])
        assert 0 <= maps.min() <= maps.max() <= 1


def test_weightings_of_the_ablation():
    x = torch.randn(1, 1, 30, 30)
    uniform = build_network("bioatt", filters=4, descriptors=3, weighting="uniform").eval()
    anatomical = build_network("bioatt", filters=4, descriptors=3).eval()
    anatomical.load_state_dict(uniform.state_dict())
    random_arm = build_network("bioatt", filters=4, descriptors=3, weighting="random").eval()
    with torch.no_grad():
        torch.testing.assert_close(uniform(x), anatomical(x, torch.full((1, 3), 1 / 3)))
        assert not torch.equal(random_arm(x), random_arm(x))
    assert not uniform.uses_prior
    assert anatomical.uses_prior


def test_wrong_calls_are_refused():
    with pytest.raises(ValueError, match="unknown arm"):
        build_network("transformer")
    network = build_network("bioatt", filters=4, descriptors=3)
    with pytest.raises(ValueError, match="needs the prior"):
        network(torch.zeros(1, 1, 30, 30))
    with pytest.raises(ValueError, match="does not fit"):
        network(torch.zeros(1, 1, 30, 30), torch.zeros(1, 4))


def test_blocks_are_shuffled_there_and_back():
    """unshuffle u equals the same layers on the u² interleaved images, put together again."""
    network = double(build_network("bioatt", filters=6, descriptors=3, unshuffle=2))
    x, p = torch.from_numpy(random(2, 1, 64, 60)), torch.from_numpy(prior(2, 3))
    blocks = torch.stack([x[:, 0, i::2, j::2] for i in range(2) for j in range(2)], dim=1)
    inner = double(build_network("bioatt", filters=6, descriptors=3))
    inner.encoder[0], inner.decoder[-1] = network.encoder[0], network.decoder[-1]
    inner.load_state_dict(network.state_dict())
    with torch.no_grad():
        residual = inner._residual(blocks, p[:, :, None, None], None)
        expected = x.clone()
        for channel, (i, j) in enumerate((i, j) for i in range(2) for j in range(2)):
            expected[:, 0, i::2, j::2] += residual[:, channel]
        torch.testing.assert_close(network(x, p), expected)


def test_a_halo_of_blocks_is_exact():
    network = double(build_network("bioatt", filters=8, descriptors=3, unshuffle=2))
    x, p = torch.from_numpy(random(1, 1, 160, 160)), torch.from_numpy(prior(1, 3))
    changed = x.clone()
    changed[0, 0, 80 - network.halo - 1, 80] += 100.0
    with torch.no_grad():
        assert torch.equal(network(x, p)[0, 0, 80, 80], network(changed, p)[0, 0, 80, 80])


def test_slices_that_are_no_whole_blocks_are_refused():
    network = build_network("bioatt", filters=4, descriptors=3, unshuffle=2)
    with pytest.raises(ValueError, match="multiples of 2"):
        network(torch.zeros(1, 1, 61, 64), torch.ones(1, 3) / 3)
