"""Attention blocks against the equations of the paper, values and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bioatt.network.attention import ChannelAttention, OrganAttention, SpatialAttention


def test_organ_attention_follows_equations_3_to_6(equations):
    x, p = equations.random(2, 5, 11, 12), equations.prior(2, 4)
    block = OrganAttention(4).double()
    expected, maps = equations.organ_attention(x, block.conv.weight.detach().numpy(), p[:, :, None, None])
    recorded: list[torch.Tensor] = []
    actual = block(torch.from_numpy(x), torch.from_numpy(p)[:, :, None, None], recorded)
    np.testing.assert_allclose(actual.detach().numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(recorded[0].detach().numpy(), maps, atol=1e-12)


def test_organ_attention_gradients_are_those_of_the_equations(equations):
    """Central differences of the NumPy equations against autograd, for x, p and the kernel."""
    x, p = equations.random(1, 3, 8, 8), equations.prior(1, 2)[:, :, None, None]
    block = OrganAttention(2).double()
    weight = block.conv.weight.detach().numpy().copy()
    direction = equations.random(1, 3, 8, 8, seed=5)
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
                    equations.organ_attention(*[*arguments[:slot], values + s * change, *arguments[slot + 1 :]])[0]
                    * direction
                ).sum()
                for s in (1, -1)
            ]
            assert (loss[0] - loss[1]) / 2e-6 == pytest.approx(analytic[which].flatten()[position].item(), abs=1e-6)


def test_spatial_block_is_cbams(equations):
    x = equations.random(2, 6, 9, 10)
    block = SpatialAttention().double()
    expected, _ = equations.organ_attention(x, block.conv.weight.detach().numpy(), np.ones((2, 1, 1, 1)))
    np.testing.assert_allclose(block(torch.from_numpy(x)).detach().numpy(), expected, atol=1e-12)


def test_channel_block_is_squeeze_and_excitation(equations):
    x = equations.random(2, 32, 6, 7)
    block = ChannelAttention(32).double()
    w1, b1, w2, b2 = (parameter.detach().numpy() for parameter in block.parameters())
    assert w1.shape == (2, 32)
    gate = equations.sigmoid(np.maximum(x.mean(axis=(2, 3)) @ w1.T + b1, 0) @ w2.T + b2)
    np.testing.assert_allclose(block(torch.from_numpy(x)).detach().numpy(), x * gate[:, :, None, None], atol=1e-12)
