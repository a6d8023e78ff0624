"""Contrastive loss over positions: pulls the output's features to the full dose's and away from two kinds of
negatives.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from bioatt_training.adversarial.features import Levels


def contrast(
    output: Levels, full: Levels, low: Levels, generator: torch.Generator, *, places: int, temperature: float
) -> Tensor:
    """Mean over levels of InfoNCE (van den Oord 2018, arXiv 1807.03748) at positions shared by all images.

    At each position, the anchor is the output's feature vector and the positive is the full dose's; negatives are the
    low dose's at the same position, and the full dose's at the other drawn positions of the image. Cosine similarities
    are divided by the temperature. A level with fewer positions than `places` uses all of them. generator: on the CPU.
    """
    losses = []
    for anchors, positives, negatives in zip(output, full, low, strict=True):
        count = anchors.shape[-2] * anchors.shape[-1]
        drawn = torch.randperm(count, generator=generator)[: min(places, count)].to(anchors.device)
        a, b, c = (
            functional.normalize(level.flatten(2)[..., drawn], dim=1, eps=1e-6).transpose(1, 2)
            for level in (anchors, positives, negatives)
        )
        losses.append(info_nce(a, b, c, temperature))
    return torch.stack(losses).mean()


def info_nce(anchors: Tensor, positives: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of distinguishing each anchor's positive from its negatives; all (B, S, C) of unit length.

    Negatives of an anchor: its own row of `negatives`, and the positives at the other S − 1 positions of the image.
    """
    among = anchors @ positives.transpose(1, 2)
    beside = (anchors * negatives).sum(dim=2, keepdim=True)
    logits = torch.cat([among, beside], dim=2) / temperature
    right = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[:2])
    return functional.cross_entropy(logits.flatten(0, 1), right.flatten())
