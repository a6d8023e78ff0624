"""A deepened network: the function of the shallow one at first, and all of it trainable."""

from __future__ import annotations

import pytest
import torch

from bioatt.errors import InputError
from bioatt.network import build_network
from bioatt_training.deepening import deepen


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def unet(depth: int, arm="bioatt", filters: int = 4, awake: bool = True):
    network = build_network(arm, filters, 17, layout="unet", depth=depth)
    for parameter in network.parameters() if awake else ():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return network


def inputs(side: int = 64):
    return torch.randn(2, 1, side, side), torch.softmax(torch.randn(2, 17), dim=1)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_deepened_network_does_what_the_shallow_one_did(depth):
    shallow, deep = unet(1), unet(depth, awake=False)
    x, p = inputs()
    assert (shallow(x, p) - x).abs().max() > 0.01
    deepen(shallow, deep)
    torch.testing.assert_close(deep(x, p), shallow(x, p))


def test_its_new_blocks_learn():
    shallow, deep = unet(1), unet(2, awake=False)
    deepen(shallow, deep)
    given = shallow.state_dict()
    fresh = {name: value for name, value in deep.named_parameters() if name not in given}
    assert fresh
    x, p = inputs()
    for _ in range(2):  # a block's first layer learns once its silent second one has begun to
        deep.zero_grad()
        deep(x, p).square().mean().backward()
        with torch.no_grad():
            for weight in deep.parameters():
                weight -= 0.01 * weight.grad
    assert all(weight.grad.any() for weight in fresh.values())


@pytest.mark.parametrize("other", [unet(1), unet(2, "base"), unet(2, filters=8), build_network("bioatt", 4, 17)])
def test_another_kind_of_network_is_refused(other):
    with pytest.raises(InputError, match="only the depth"):
        deepen(unet(2), other)
