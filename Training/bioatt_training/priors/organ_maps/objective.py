"""What the organ-map network is trained for: outlines where there are some, and what is known where there are none."""

from __future__ import annotations

import torch
from torch import Tensor

from bioatt_training.priors.organ_maps.augmentation import Batch
from bioatt_training.priors.organ_maps.content import BOWEL, KIDNEYS, LIVER, NONE_HERE, SPLEEN, STOMACH

PRESENCE_WEIGHT = 0.05
DICE_WEIGHT = 1.0
_PRESENCE_CELLS = 12
_FAT_FREE = (5, 8, LIVER, SPLEEN, STOMACH, KIDNEYS, 14, BOWEL)
"""Classes that fat is none of, so that a cell of 0 in fat stays none."""


def objective(logits: Tensor, batch: Batch, possible: Tensor, present: Tensor, outlined: Tensor) -> Tensor:
    """Cross-entropy + Dice + presence.

    logits (B, C, H, W); possible (B, C), present (B, C - 1), outlined (B,) bool as in OrganSlices. A cell of 0 is any
    of its possible classes: its cross-entropy is −log Σ p over them, and their p does not count in the Dice.
    """
    log_p = logits.log_softmax(dim=1)
    open_to = possible[:, :, None, None] & ~_in_fat(possible.shape[1], batch.fat)
    unknown = log_p.masked_fill(~open_to, -30.0).logsumexp(dim=1)
    named = torch.where(batch.labels == NONE_HERE, 0, batch.labels)
    entropy = -torch.where(batch.labels == 0, unknown[:, None], log_p.gather(1, named))
    entropy_mean = entropy.mean(dim=(1, 2, 3)).mean()
    p = log_p.exp()
    loss = entropy_mean + DICE_WEIGHT * _dice_loss(p[outlined], batch.labels[outlined], open_to[outlined])
    return loss + PRESENCE_WEIGHT * _presence_loss(p[~outlined, 1:], present[~outlined])


def _in_fat(classes: int, fat: Tensor) -> Tensor:
    """(B, C, H, W): cells of fat for classes that hold none."""
    fat_free = torch.zeros(classes, dtype=torch.bool)
    fat_free[list(_FAT_FREE)] = True
    return fat[:, None] & fat_free[None, :, None, None]


def _dice_loss(p: Tensor, labels: Tensor, open_to: Tensor) -> Tensor:
    """1 − Dice of each organ, pooled over the batch, mean over the organs that the batch shows."""
    known = torch.where(labels == NONE_HERE, 0, labels)
    share = torch.zeros_like(p).scatter_add_(1, known, torch.full(known.shape, 1 / known.shape[1]))
    open_share = (labels == 0).float().mean(dim=1, keepdim=True)
    counted = p * (1 - open_share * open_to)
    axes = (0, 2, 3)
    both, true = (counted * share).sum(axes)[1:], share.sum(axes)[1:]
    here = true > 0
    if not here.any():
        return p.sum() * 0
    return 1 - (2 * both[here] / (counted.sum(axes)[1:] + true)[here]).mean()


def _presence_loss(p: Tensor, present: Tensor) -> Tensor:
    """−log of the mean p over the surest cells of organs that a slice without outlines is known to show."""
    if not present.any():
        return p.sum() * 0
    surest = p.flatten(2).topk(_PRESENCE_CELLS, dim=2).values.mean(dim=2)
    return -(surest[present] + 1e-3).log().mean()
