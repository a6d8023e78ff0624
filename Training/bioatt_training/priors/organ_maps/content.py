"""Augmentation inside the body: organs enhance differently, not at all, or are missing; contrast agent fills stomach
and bowel; tumours and ascites are added.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bioatt_training.priors.organ_maps.slices import FINE
from bioatt_training.priors.organ_maps.tensors import chance, constant, is_one_of, mask_box, members, textured

NONE_HERE = 254
"""Label of a cell that is certainly no organ, whatever the slice's cells of 0 may be."""
LIVER, SPLEEN, STOMACH, PANCREAS, KIDNEYS, BOWEL, PELVIS = 9, 10, 11, 12, 13, 15, 16
_LUNGS, _SKULL, SPINE = 5, 1, 17
_REMOVABLE = (SPLEEN, STOMACH, PANCREAS, KIDNEYS, BOWEL)
_BETWEEN = (0, STOMACH, PANCREAS, BOWEL)
"""Classes that a tumour may displace. A liver lesion is labelled liver."""
_ABDOMINAL = (LIVER, KIDNEYS, BOWEL, 14, PELVIS)
_SHOULDERS = 4
_BONES = (_SKULL, _SHOULDERS, PELVIS, SPINE)
_UNCHANGED = (0, *_BONES, _LUNGS, NONE_HERE)
_NATIVE_HU = 40.0
"""Approximate HU of blood and most soft organs without contrast agent."""


def change_content(images: Tensor, labels: Tensor, strength: float = 1.0) -> tuple[Tensor, Tensor]:
    """images (B, G, G) HU and labels (B, G, G) with changed organs; strength scales the probability."""
    if strength == 0:
        return images, labels
    count, device = len(images), images.device
    images = _native(images, labels, chance(count, 0.15 * strength, device))
    images = _enhanced(images, labels, strength)
    images = _with_oral_contrast(images, labels, chance(count, 0.2 * strength, device))
    shown = torch.zeros(count, 256, device=device).scatter_(1, labels.flatten(1).long(), 1.0) > 0
    images, labels = _removed(images, labels, shown, 0.12 * strength)
    abdominal = (shown & members(_ABDOMINAL, device)).any(1)
    images, labels = _with_tumours(images, labels, abdominal & chance(count, 0.10 * strength, device))
    ascites = abdominal & ~shown[:, PELVIS] & chance(count, 0.07 * strength, device)
    return _with_ascites(images, labels, ascites)


def _native(images: Tensor, labels: Tensor, chosen: Tensor) -> Tensor:
    """Remove most of the enhancement of soft tissue and blood, as in an unenhanced scan."""
    soft = ~is_one_of(labels, _BONES) & chosen.view(-1, 1, 1)
    # above 250 HU it may be a rib, which is never outlined: fade out to 400 HU
    enhancement = (images.clamp(_NATIVE_HU, 250) - _NATIVE_HU) * ((400 - images) / 150).clamp(0, 1)
    return images - soft * enhancement * (0.7 + 0.3 * torch.rand(len(images), 1, 1, device=images.device))


def _with_oral_contrast(images: Tensor, labels: Tensor, chosen: Tensor) -> Tensor:
    """Fill stomach and bowel, or parts of them, with oral contrast agent."""
    filled = is_one_of(labels, (STOMACH, BOWEL)) & (images > -20) & chosen.view(-1, 1, 1)
    level = 40 + 300 * torch.rand(len(images), 1, 1, device=images.device)
    return images + filled * level * (0.5 + textured(images, 32)).clamp(0, 1)


def _enhanced(images: Tensor, labels: Tensor, strength: float) -> Tensor:
    """Shift the HU of each soft organ by a random value; bone, lungs and non-organ tissue stay."""
    count, device = len(images), images.device
    offsets = torch.randn(count, 256, device=device) * 18 * strength * (torch.rand(count, 256, device=device) < 0.6)
    offsets = offsets.masked_fill(members(_UNCHANGED, device), 0)
    moved = offsets.gather(1, labels.flatten(1).long()).view_as(images)
    return images + moved * ((images + 60) / 60).clamp(0, 1)


def _removed(images: Tensor, labels: Tensor, shown: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Replace an organ by fat, with a margin."""
    count, device = len(images), images.device
    there = shown.index_select(1, constant(_REMOVABLE, device))
    which = (torch.rand(count, len(_REMOVABLE), device=device) * there).argmax(1)
    value = constant(_REMOVABLE, device).take(which).view(-1, 1, 1)
    organ = (labels == value) & chance(count, share, device).view(-1, 1, 1)
    near = F.max_pool2d(organ[:, None].float(), 5, 1, 2)[:, 0] > 0
    near = near & (organ | (labels == 0))
    return torch.where(near, -100 + 10 * textured(images, 4), images), labels.masked_fill(near, NONE_HERE)


def _with_tumours(images: Tensor, labels: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    count, side, device = len(images), images.shape[-1], images.device
    inside = _trunk(images) & is_one_of(labels, _BETWEEN) & (images < 180) & chosen.view(-1, 1, 1)
    place = (torch.rand(count, images[0].numel(), device=device) * inside.flatten(1)).argmax(1)
    draw = torch.rand(4, count, 1, 1, device=device)
    radius = (15 + 75 * draw[0] ** 2) * FINE / 3.3
    rows = torch.arange(images.shape[1], device=device).view(1, -1, 1) - (place // side).view(-1, 1, 1)
    columns = torch.arange(side, device=device).view(1, 1, -1) - (place % side).view(-1, 1, 1)
    shape = torch.hypot(rows * (0.7 + 0.6 * draw[1]), columns.float()) / radius
    mass = inside & (shape + 0.15 * textured(images, 32) < 1)
    tissue = 10 + 80 * draw[2] + 25 * draw[3] * textured(images, 8)
    return torch.where(mass, tissue, images), labels.masked_fill(mass, NONE_HERE)


def _with_ascites(images: Tensor, labels: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Replace fat between the organs by water."""
    smooth = F.avg_pool2d(images[:, None], 5, 1, 2)[:, 0]
    free = is_one_of(labels, (0, BOWEL)) & chosen.view(-1, 1, 1)
    fluid = _trunk(images) & free & (smooth > -150) & (smooth < -20)
    return torch.where(fluid, 12 + 5 * textured(images, 4), images), labels.masked_fill(fluid, NONE_HERE)


def _trunk(images: Tensor) -> Tensor:
    """Inside an ellipse that excludes the wall of the trunk."""
    body = images > -500
    box = mask_box(body)
    middle, half = box.mean(2), (box[:, :, 1] - box[:, :, 0]) / 2
    y, x = (
        (torch.arange(count, device=images.device) - middle[:, axis, None]) / half[:, axis, None]
        for axis, count in enumerate(images.shape[1:])
    )
    return body & ((y[:, :, None] / 0.72) ** 2 + (x[:, None, :] / 0.8) ** 2 < 1)
