"""The U-net with gated skips: its gate against NumPy, and the effect of the gate."""

from __future__ import annotations

import numpy as np
import torch

from bioatt.network import build_network
from bioatt.network.gated_unet import AttentionGate


def test_the_gate():
    torch.manual_seed(0)
    gate = AttentionGate(3).double()
    y, skip = torch.randn(2, 1, 3, 4, 4, dtype=torch.float64)
    a, b, share = (layer.weight.detach().numpy()[:, :, 0, 0] for layer in (gate.of_skip, gate.of_decoder, gate.share))
    bias, offset = gate.of_skip.bias.detach().numpy(), gate.share.bias.detach().numpy()
    seen = np.einsum("dc,bcij->bdij", a, skip.numpy()) + bias[:, None, None]
    seen = np.maximum(seen + np.einsum("dc,bcij->bdij", b, y.numpy()), 0)
    expected = skip.numpy() / (1 + np.exp(-(np.einsum("dc,bcij->bdij", share, seen) + offset[:, None, None])))
    np.testing.assert_allclose(gate(y, skip).detach().numpy(), expected, rtol=1e-9)


def test_a_closed_gate_hides_the_encoder():
    torch.manual_seed(0)
    network = build_network("base", 4, 1, layout="gated_unet")
    torch.nn.init.normal_(network.tail.weight)
    x, moved = torch.randn(2, 1, 1, 16, 16)
    gate = network.gates[0]
    with torch.no_grad():
        features = network.head(x), network.head(moved)
        open_change = gate(features[0], features[0]) - gate(features[0], features[1])
        gate.share.bias.fill_(-40)
        shut_change = gate(features[0], features[0]) - gate(features[0], features[1])
        assert open_change.abs().max() > 0.01
        assert shut_change.abs().max() < 1e-12


def test_it_begins_as_the_identity():
    x = torch.randn(1, 1, 16, 16)
    assert torch.equal(build_network("base", 4, 1, layout="gated_unet")(x), x)
