"""Loss of the organ-map network: outlines if available, otherwise known organ presence."""

from __future__ import annotations

import torch
from torch import Tensor

from bioatt_training.priors.organ_maps.augmentation import Batch
from bioatt_training.priors.organ_maps.content import BOWEL, KIDNEYS, LIVER, NONE_HERE, SPLEEN, STOMACH
from bioatt_training.priors.organ_maps.tensors import members

PRESENCE_WEIGHT = 0.05
DICE_WEIGHT = 1.0
_PRESENCE_CELLS = 12
_FAT_FREE = (5, 8, LIVER, SPLEEN, STOMACH, KIDNEYS, 14, BOWEL)
"""Classes that never consist of fat, so that a cell of 0 in fat stays none."""


def objective(logits: Tensor, batch: Batch, possible: Tensor, present: Tensor, outlined: Tensor) -> Tensor:
    """Cross-entropy + Dice + presence.

    logits (B, C, H, W); possible (B, C), present (B, C - 1), outlined (B,) bool, as in OrganSlices. A cell of 0 is any
    of its possible classes: its cross-entropy is −log Σ p over them, and their p does not count in the Dice.
    """
    log_p = logits.log_softmax(dim=1)
    fat_free = members(_FAT_FREE, logits.device)[: possible.shape[1]]
    open_to = possible[:, :, None, None] & ~(batch.fat[:, None] & fat_free[None, :, None, None])
    unknown = log_p.masked_fill(~open_to, -30.0).logsumexp(dim=1)
    named = torch.where(batch.labels == NONE_HERE, 0, batch.labels)
    entropy = -torch.where(batch.labels == 0, unknown[:, None], log_p.gather(1, named)).mean()
    p = log_p.exp()
    loss = entropy + DICE_WEIGHT * _dice_loss(p, batch.labels, open_to, outlined)
    return loss + PRESENCE_WEIGHT * _presence_loss(p[:, 1:], present & ~outlined[:, None])


def _dice_loss(p: Tensor, labels: Tensor, open_to: Tensor, outlined: Tensor) -> Tensor:
    """1 − Dice of each organ, pooled over the outlined slices, mean over the organs they show."""
    known = torch.where(labels == NONE_HERE, 0, labels)
    quarter = torch.full(known.shape, 1 / known.shape[1], device=p.device)
    share = torch.zeros_like(p).scatter_add_(1, known, quarter)
    open_share = (labels == 0).float().mean(dim=1, keepdim=True)
    counted = p * (1 - open_share * open_to)
    both, taken, true = ((one.sum((2, 3)) * outlined[:, None]).sum(0)[1:] for one in (counted * share, counted, share))
    here = (true > 0).float()
    dice = 2 * both / (taken + true).clamp(min=1e-6)
    return ((1 - dice) * here).sum() / here.sum().clamp(min=1)


def _presence_loss(p: Tensor, present: Tensor) -> Tensor:
    """−log of the mean p over the most certain cells of organs (B, C - 1) known to be present."""
    surest = p.flatten(2).topk(_PRESENCE_CELLS, dim=2).values.mean(dim=2)
    return -((surest + 1e-3).log() * present).sum() / present.sum().clamp(min=1)
