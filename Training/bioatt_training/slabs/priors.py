"""Priors of every kind for training, so that the network is robust to all: right and wrong, flat and peaked, maps and
none.

Drawn on the device as cells (B, N, H/8, W/8); if they sum to less than 1, the rest belongs to none.
"""

from __future__ import annotations

import torch
from torch import Tensor

KINDS = (
    "maps",  # the slice's organ maps
    "filled",  # organ maps, with the slice's p in place of none
    "stranger",  # another slice's organ maps
    "hard",  # organ maps as masks
    "missing",  # organ maps without some organs
    "pooled",  # the slice's p
    "softmax",  # the slice's p, softer or more peaked, like that of a language model
    "one-hot",  # one organ of the slice
    "wrong",  # one organ, any
    "random",  # Dirichlet
    "uniform",
    "none",
)
CHANCES = (0.22, 0.08, 0.08, 0.08, 0.06, 0.12, 0.10, 0.06, 0.06, 0.05, 0.05, 0.04)


def draw_priors(maps: Tensor, pooled: Tensor, strangers: Tensor, chances: Tensor, random: torch.Generator) -> Tensor:
    """A prior (B, N, h, w) for each patch. maps, strangers: organ maps (B, N, h, w); pooled: (B, N), sums to 1.
    chances: cumulative CHANCES, without the last.
    """
    batch, n = pooled.shape
    device = pooled.device
    rand = lambda *shape: torch.rand((batch, *shape), generator=random, device=device)  # noqa: E731
    kind = (rand(1) > chances).sum(dim=1)
    temperature = torch.exp(rand(1) * 5 - 3)  # 0.05 to 7
    logits = torch.log(pooled + 1e-4)
    softmax = torch.softmax(logits / temperature, dim=1)
    organ = torch.arange(n, device=device)
    right = (organ == (rand(1) > pooled.cumsum(dim=1)).sum(dim=1, keepdim=True).clamp_max(n - 1)).float()
    wrong = (organ == (rand(1) * n).long().clamp_max(n - 1)).float()
    peak = 0.5 + 0.5 * rand(1)  # 0.5 to 1, the rest spread uniformly
    right, wrong = (peak * one + (1 - peak) / n for one in (right, wrong))
    exponential = -(torch.log(rand(n).clamp_min(1e-6)) ** 2)
    dirichlet = exponential.abs() / exponential.abs().sum(dim=1, keepdim=True)
    flat = torch.full_like(pooled, 1 / n)
    none = torch.zeros_like(pooled)
    vectors = {
        "pooled": pooled, "softmax": softmax, "one-hot": right, "wrong": wrong, "random": dirichlet, "uniform": flat,
        "none": none,
    }  # fmt: skip
    rest = (1 - maps.sum(dim=1, keepdim=True)).clamp(0, 1)
    places = {
        "maps": maps,
        "filled": maps + rest * pooled[:, :, None, None],
        "stranger": strangers,
        "hard": (maps == maps.amax(dim=1, keepdim=True)) * (maps > rest).float(),
        "missing": maps * (rand(n) < 0.6)[:, :, None, None],
    }
    size = maps.shape[2:]
    stacked = torch.stack(
        [places[one] if one in places else vectors[one][:, :, None, None].expand(-1, -1, *size) for one in KINDS]
    )
    return stacked[kind, torch.arange(batch, device=device)]
