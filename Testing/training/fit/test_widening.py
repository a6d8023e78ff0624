"""A widened network: the function of the slim one at first, and all of it trainable."""

from __future__ import annotations

import pytest
import torch

from bioatt.errors import InputError
from bioatt.network import build_network
from bioatt_training.widening import widen


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def inputs(side: int = 64):
    return torch.randn(2, 1, side, side), torch.softmax(torch.randn(2, 17), dim=1)


@pytest.mark.parametrize("unshuffle", [1, 2])
def test_a_widened_network_does_what_the_slim_one_did(unshuffle):
    slim = build_network("bioatt", 6, 17, unshuffle=unshuffle)
    wide = build_network("bioatt", 10, 17, unshuffle=unshuffle)
    x, p = inputs()
    fresh = (wide(x, p) - x).std()
    widen(slim, wide)
    expected = slim(x, p)
    assert (wide(x, p) - expected).abs().max() < 0.02 * (expected - x).abs().max()
    assert fresh > 0.02 * (expected - x).abs().max()


def test_what_fresh_filters_feed_starts_at_zero_and_learns():
    slim, wide = build_network("bioatt", 6, 17), build_network("bioatt", 10, 17)
    widen(slim, wide)
    fed = [layer.weight[6:] if number else wide.encoder[1].weight[:, 6:] for number, layer in enumerate(wide.decoder)]
    assert not any(weight.any() for weight in fed)
    x, p = inputs()
    wide(x, p).square().mean().backward()
    with torch.no_grad():
        for weight in wide.parameters():
            weight -= 0.1 * weight.grad
    assert all(weight.any() for weight in fed)


def test_a_network_of_the_same_width_is_copied():
    slim, wide = build_network("spatial", 6, 17), build_network("spatial", 6, 17)
    widen(slim, wide)
    for name, weight in slim.state_dict().items():
        assert torch.equal(weight, wide.state_dict()[name])


@pytest.mark.parametrize(("arm", "filters"), [("bioatt", 4), ("base", 8)])
def test_another_kind_of_network_is_refused(arm, filters):
    with pytest.raises(InputError, match="initial"):
        widen(build_network("bioatt", 6, 17), build_network(arm, filters, 17))


def test_channel_attention_cannot_be_widened():
    with pytest.raises(InputError, match="channel"):
        widen(build_network("channel", 6, 17), build_network("channel", 8, 17))
