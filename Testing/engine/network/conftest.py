"""The paper's equations in NumPy, float64, independent of the networks' own code."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view


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


def relu(x):
    return np.maximum(x, 0)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def prior(batch, n, seed=1):
    p = np.random.default_rng(seed).random((batch, n))
    return p / p.sum(axis=1, keepdims=True)


def weights(network):
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


@pytest.fixture(scope="session")
def equations():
    """Layers and attention on arrays (B, C, H, W), and functions that make test arrays."""
    functions = (sigmoid, relu, convolve, convolve_transposed, organ_attention, random, prior, weights)
    return SimpleNamespace(**{function.__name__: function for function in functions})
