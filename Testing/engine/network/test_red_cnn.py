"""The paper's network against an independent float64 reference of its equations, and its receptive field."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bioatt.network import ARMS, build_network
from bioatt.network.red_cnn import CROP, HALO


def reference(equations, network, x, p):
    """The bioatt arm as described in §2.2–2.3 of the paper."""
    state, relu = equations.weights(network), equations.relu

    def conv(i, y):
        return equations.convolve(y, state[f"encoder.{i}.weight"], state[f"encoder.{i}.bias"])

    def deconv(i, y):
        return equations.convolve_transposed(y, state[f"decoder.{i}.weight"], state[f"decoder.{i}.bias"])

    def attend(stage, y):
        return equations.organ_attention(y, state[f"attention.{stage}.conv.weight"], p[:, :, None, None])[0]

    skip2 = relu(conv(1, relu(conv(0, x))))
    skip4 = relu(conv(3, attend("middle", relu(conv(2, skip2)))))
    y = attend("last", relu(conv(4, skip4)))
    y = relu(deconv(0, y) + skip4)
    y = relu(deconv(1, y))
    y = relu(deconv(2, y) + skip2)
    y = relu(deconv(3, y))
    return deconv(4, y) + x


@pytest.mark.parametrize(("arm", "parameters"), [("base", 1_848_865), ("bioatt", 1_852_197)])
def test_size_of_the_paper(arm, parameters):
    assert sum(p.numel() for p in build_network(arm, filters=96, descriptors=17).parameters()) == parameters


def test_whole_network_follows_the_paper(equations):
    network = build_network("bioatt", filters=6, descriptors=3).double()
    x, p = equations.random(2, 1, 24, 26), equations.prior(2, 3)
    with torch.no_grad():
        actual = network(torch.from_numpy(x), torch.from_numpy(p))
    np.testing.assert_allclose(actual.numpy(), reference(equations, network, x, p), atol=1e-12)


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_keeps_the_size_and_learns(equations, arm):
    torch.manual_seed(1)
    network = build_network(arm, filters=64, descriptors=4)
    output = network(torch.randn(2, 1, 23, 31), torch.from_numpy(equations.prior(2, 4)).float())
    assert output.shape == (2, 1, 23, 31)
    output.square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_the_last_layer_can_go_negative():
    """Standardised air is -1: a final ReLU would turn it into -500 HU."""
    torch.manual_seed(0)
    assert (build_network("base", filters=4)(torch.full((1, 1, 30, 30), -1.0)) < -0.5).any()


def test_receptive_field_is_the_halo(equations):
    """A pixel more than HALO away changes nothing but one HALO away does, so a smaller halo would leave seams.

    Tested along the axes: only one path of weights reaches the corner, and float64 rounding hides its product.
    """
    torch.manual_seed(0)
    network = build_network("bioatt", filters=8, descriptors=3).double()
    p = torch.from_numpy(equations.prior(1, 3))
    x = torch.randn(1, 1, 161, 161, dtype=torch.float64)
    with torch.no_grad():
        before = network(x, p)[0, 0, 80, 80]
    reached = []
    for down, right in ((HALO, 0), (0, HALO), (HALO + 1, 0), (0, HALO + 1), (HALO + 1, HALO + 1)):
        changed = x.clone()
        changed[0, 0, 80 + down, 80 + right] += 1000
        with torch.no_grad():
            reached.append(not torch.equal(before, network(changed, p)[0, 0, 80, 80]))
    assert reached == [True, True, False, False, False]


def test_spatial_prior_of_equal_rows_is_the_slice_prior(equations):
    network = build_network("bioatt", filters=6, descriptors=3).double()
    x, p = torch.from_numpy(equations.random(1, 1, 40, 41)), torch.from_numpy(equations.prior(1, 3))
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
