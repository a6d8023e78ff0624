"""Changes inside the body: organs enhance differently or are missing, tumours and ascites lie between them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bioatt_training.priors.organ_maps.data import FINE

NONE_HERE = 254
"""Label of a cell that is no organ for sure, whatever the slice's cells of 0 may be."""
LIVER, SPLEEN, STOMACH, PANCREAS, KIDNEYS, BOWEL, PELVIS = 9, 10, 11, 12, 13, 15, 16
_LUNGS, _SKULL, _SPINE = 5, 1, 17
_REMOVABLE = (SPLEEN, STOMACH, PANCREAS, KIDNEYS, BOWEL)
_BETWEEN = (0, STOMACH, PANCREAS, BOWEL)
"""What a tumour may displace. A lesion of the liver is liver."""
_ABDOMINAL = (LIVER, KIDNEYS, BOWEL, 14, PELVIS)


def change_content(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """images (B, G, G) HU and labels (B, G, G) with changed organs."""
    images, labels = _enhanced(images, labels), labels.clone()
    for image, named in zip(images, labels, strict=True):
        chance = torch.rand(3)
        inside = [value for value in _REMOVABLE if chance[0] < 0.12 and bool((named == value).any())]
        if inside:
            _remove(image, named, inside[int(torch.randint(len(inside), ()))])
        if chance[1:].min() < 0.10 and any(bool((named == value).any()) for value in _ABDOMINAL):
            if chance[1] < 0.10:
                _tumour(image, named)
            if chance[2] < 0.07 and not bool((named == PELVIS).any()):
                _ascites(image, named)
    return images, labels


def _enhanced(images: Tensor, labels: Tensor) -> Tensor:
    """Soft organs lighter or darker by a draw each; bone, lungs and what is no organ stay."""
    count = len(images)
    offsets = torch.randn(count, 256) * 18 * (torch.rand(count, 256) < 0.6)
    offsets[:, [0, _SKULL, _LUNGS, _SPINE, 4, PELVIS, NONE_HERE]] = 0
    moved = offsets.gather(1, labels.flatten(1).long()).view_as(images)
    return images + moved * ((images + 60) / 60).clamp(0, 1)


def _remove(image: Tensor, labels: Tensor, value: int) -> None:
    """Fat in the place of an organ, with a margin."""
    organ = labels == value
    near = F.max_pool2d(organ[None].float(), 5, 1, 2)[0] > 0
    near &= organ | (labels == 0)
    image[near] = _textured(image.shape, -100, 10)[near]
    labels[near] = NONE_HERE


def _tumour(image: Tensor, labels: Tensor) -> None:
    inside = _trunk(image) & torch.isin(labels, torch.tensor(_BETWEEN, dtype=torch.uint8)) & (image < 180)
    places = inside.nonzero()
    if len(places) == 0:
        return
    y, x = places[int(torch.randint(len(places), ()))].tolist()
    draw = torch.rand(4).tolist()
    radius = (15 + 75 * draw[0] ** 2) * FINE / 3.3
    rows = torch.arange(image.shape[0])[:, None] - y
    columns = torch.arange(image.shape[1])[None, :] - x
    wobble = _textured(image.shape, 0, 0.15, 32)
    mass = inside & (torch.hypot(rows * (0.7 + 0.6 * draw[1]), columns.float()) / radius + wobble < 1)
    image[mass] = (10 + 80 * draw[2] + _textured(image.shape, 0, 25 * draw[3], 8))[mass]
    labels[mass] = NONE_HERE


def _ascites(image: Tensor, labels: Tensor) -> None:
    """Water where there was fat between the organs."""
    smooth = F.avg_pool2d(image[None], 5, 1, 2)[0]
    free = torch.isin(labels, torch.tensor((0, BOWEL), dtype=torch.uint8))
    fluid = _trunk(image) & free & (smooth > -150) & (smooth < -20)
    image[fluid] = _textured(image.shape, 12, 5)[fluid]
    labels[fluid] = NONE_HERE


def _trunk(image: Tensor) -> Tensor:
    """Inside an ellipse that leaves out the wall of the trunk."""
    body = image > -500
    rows, columns = body.any(1).nonzero(), body.any(0).nonzero()
    if len(rows) == 0:
        return body
    lines = []
    for found, count in ((rows, image.shape[0]), (columns, image.shape[1])):
        low, high = float(found.min()), float(found.max())
        lines.append((torch.arange(count) - (low + high) / 2) / ((high - low) / 2 + 1))
    return body & ((lines[0][:, None] / 0.72) ** 2 + (lines[1][None, :] / 0.8) ** 2 < 1)


def _textured(shape: torch.Size, mean: float, sd: float, grain: int = 4) -> Tensor:
    coarse = torch.randn(1, 1, shape[0] // grain + 1, shape[1] // grain + 1)
    return mean + sd * F.interpolate(coarse, size=tuple(shape), mode="bilinear", align_corners=False)[0, 0]
