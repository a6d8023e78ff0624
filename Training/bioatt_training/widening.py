"""A wider network that begins where a slimmer one ended, so that what that one learned is not learned again.

The new filters are drawn afresh, and what they feed starts at zero, so the output is the slim network's at first
(Chen 2016, arXiv 1511.05641, which copies filters instead of drawing new ones).
"""

from __future__ import annotations

import torch
from torch import Tensor

from bioatt.errors import InputError
from bioatt.network import BioAttNetwork

QUIET = 0.05
"""Of a fresh filter's weights where attention pools over channels: too quiet to be the maximum of them."""
POOLED = ("encoder.2", "encoder.4")
"""Layers whose output attention pools: the third and the fifth convolution."""


def widen(slim: BioAttNetwork, wide: BioAttNetwork) -> None:
    """Give `wide`, with fresh weights, the function of `slim`, which has as many filters or fewer.

    Raises InputError where they differ in more than the filters, or the wide one has fewer.
    """
    same = ("arm", "weighting", "descriptors", "unshuffle")
    if any(getattr(slim, name) != getattr(wide, name) for name in same) or slim.filters > wide.filters:
        raise InputError("[run] initial: the model to start from is of another kind, or has more filters")
    if slim.arm == "channel" and slim.filters != wide.filters:
        raise InputError("[run] initial: the arm channel cannot be widened, start from a model of as many filters")
    given = slim.state_dict()
    with torch.no_grad():
        for name, weight in wide.state_dict().items():
            layer, kind = name.rsplit(".", 1)
            if layer.startswith("attention"):
                weight.copy_(given[name])
                if slim.arm != "channel":
                    weight[:, 0] *= wide.filters / slim.filters  # the mean over more channels, most of them still
                continue
            if kind == "weight" and not layer.startswith("encoder.0"):
                _inputs(weight, layer)[len(_inputs(given[name], layer)) :] = 0
            if layer in POOLED:
                weight[given[name].shape[0] :] *= QUIET
            weight[tuple(slice(length) for length in given[name].shape)] = given[name]


def _inputs(weight: Tensor, layer: str) -> Tensor:
    """A view of a weight with its input channels first: a transposed convolution has them there already."""
    return weight if layer.startswith("decoder") else weight.transpose(0, 1)
