"""What may differ between two scans of the same level of the body: pose, size, field of view, table, contrast agent,
kernel, dose. Each change keeps the labels true."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from bioatt.priors.slice_image import AIR_HU
from bioatt_training.priors.labelled import FINE_CELL_MM


def augment(images: Tensor) -> Tensor:
    """Images (B, 1, 256, 256) HU on the fine grid → changed copies (B, 1, 128, 128) on the network's grid."""
    images = torch.stack([_with_table(_crop(image)) for image in images])
    return F.avg_pool2d(_intensity(_pose(images)), 2)


def _uniform(count: int, low: float, high: float) -> Tensor:
    return torch.rand(count, 1, 1, 1) * (high - low) + low


def _sometimes(count: int, chance: float) -> Tensor:
    return (torch.rand(count, 1, 1, 1) < chance).float()


def _pose(images: Tensor) -> Tensor:
    """Turn, mirror, scale, stretch and shift; the centre of mass comes to the middle first, as at inference."""
    count, size = len(images), images.shape[-1]
    mass = (images - AIR_HU).clamp(0, -AIR_HU).square()
    grid = torch.linspace(-1, 1, size) * (1 - 1 / size)
    total = mass.sum(dim=(1, 2, 3)).clamp(min=1)
    centre = (
        torch.stack([(mass.sum(dim=(1, 2)) * grid).sum(1), (mass.sum(dim=(1, 3)) * grid).sum(1)], 1) / total[:, None]
    )
    angle = torch.randint(4, (count,)) * (math.pi / 2) + torch.randn(count) * math.radians(8)
    angle = torch.where(torch.rand(count) < 0.15, torch.rand(count) * 2 * math.pi, angle)
    mirror = torch.randint(2, (count,)) * 2.0 - 1
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()], 1), torch.stack([angle.sin(), angle.cos()], 1)], 1)
    stretch = torch.exp(torch.randn(count, 2) * 0.06 + torch.randn(count, 1) * 0.08)
    stretch[:, 0] *= mirror
    matrix = turn @ torch.diag_embed(stretch)
    shift = centre + torch.randn(count, 2) * (12 / (FINE_CELL_MM * size / 2))
    where = F.affine_grid(torch.cat([matrix, shift[:, :, None]], 2), list(images.shape), align_corners=False)
    return F.grid_sample(images - AIR_HU, where, align_corners=False) + AIR_HU


def _intensity(images: Tensor) -> Tensor:
    """Contrast agent, calibration, kernel and noise."""
    count = len(images)
    enhancement = 1 + _sometimes(count, 0.4) * _uniform(count, -0.6, 0.6)
    enhanced = images.clamp(50, 350) - 50
    images = images + enhanced * (enhancement - 1)
    images = images + (images > -900) * torch.randn(count, 1, 1, 1) * 8
    smooth = F.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    images = images + (images - smooth) * _sometimes(count, 0.5) * _uniform(count, -1, 0.8)
    level = _sometimes(count, 0.6) * _uniform(count, 0, 1).square() * 90
    noise = torch.randn_like(images)
    coarse = torch.rand(count) < 0.5
    noise[coarse] = F.avg_pool2d(noise[coarse], 3, 1, 1) * 3
    return images + level * noise


def _crop(image: Tensor) -> Tensor:
    """A reconstruction circle smaller than the body now and then; it keeps everything but the outer rim."""
    if torch.rand(()) > 0.2:
        return image
    body = (image[0] > -300).nonzero().float()
    if len(body) < 100:
        return image
    centre = body.mean(0) + torch.randn(2) * 4
    half = (body.amax(0) - body.amin(0)).max() / 2 * (0.72 + 0.3 * torch.rand(()))
    rows = torch.arange(image.shape[-1])
    outside = (rows[:, None] - centre[0]) ** 2 + (rows[None, :] - centre[1]) ** 2 > half**2
    return torch.where(outside, torch.tensor(AIR_HU), image)


def _with_table(image: Tensor) -> Tensor:
    """A scanner's table under the patient now and then: the training data have theirs removed."""
    if torch.rand(()) > 0.4:
        return image
    rows = (image[0] > -300).any(1).nonzero()
    if len(rows) == 0:
        return image
    size = image.shape[-1]
    middle = size / 2 + torch.randn(()) * 8
    columns = torch.arange(size) - middle
    half = (80 + 60 * torch.rand(())).item()
    sag = (torch.rand(()) * 20).item() * (columns / half) ** 2
    top = rows.max() + 2 - sag + (torch.rand(()) * 6)
    depth = torch.arange(size)[:, None] - top[None, :]
    thick = (3 + 12 * torch.rand(())).item()
    inside = (depth >= 0) & (depth < thick) & (columns.abs() < half)[None, :]
    skin = inside & ((depth < 1) | (depth >= thick - 1))
    board = torch.where(skin, -500 + 500 * torch.rand(()), -950 + 250 * torch.rand(()))
    return torch.where(inside & (image[0] < -500), board, image[0])[None]
