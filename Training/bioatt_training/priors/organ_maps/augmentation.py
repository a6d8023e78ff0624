"""Augmentation of slices: pose, shape, field of view, table, contrast agent, kernel, dose, missing organs, tumours,
ascites. Labels stay consistent with the image.

Everything is batched and never synchronises with the device, so that a GPU is never idle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bioatt_training.priors.organ_maps.content import change_content
from bioatt_training.priors.organ_maps.slices import AIR_HU, FINE
from bioatt_training.priors.organ_maps.tensors import chance, constant, grid_lines, mask_box

SHAPES = ((80, 112), (96, 128), (112, 144), (128, 160))
"""Training shapes in rows and columns of cells, one per batch; they cover the amounts of air around a body that occur
in use.
"""
FAT_HU = (-140.0, -60.0)


@dataclass(frozen=True)
class Strength:
    """Augmentation strength: pose (rotation, scaling, bending, mirroring), content (organs, tumours, ascites), and
    intensity (contrast agent, kernel, noise). 1: the range of patients and scanners; 0: none.
    """

    pose: float = 1.0
    content: float = 1.0
    intensity: float = 1.0


ALL = Strength()


class Batch(NamedTuple):
    """hu (B, 1, H, W) and coordinates (B, 2, H, W) on the network's cells; labels (B, 4, H, W) of the four training
    cells of each; fat (B, H, W): cells of fat, which few organs hold."""

    hu: Tensor
    coordinates: Tensor
    labels: Tensor
    fat: Tensor


def augment(images: Tensor, labels: Tensor, bodies: Tensor, shape: tuple[int, int], strength: Strength = ALL) -> Batch:
    """images (B, GRID, GRID) HU, labels (B, GRID, GRID) and bodies (B, GRID, GRID) bool on training cells → an
    augmented batch of `shape`. Uses torch's global generators.
    """
    images, labels = change_content(images.float(), labels, strength.content)
    images, labels, bodies = _pose(images, labels, bodies, shape, strength.pose)
    outside = _field_of_view(images, strength.pose)
    images, supported = _with_tables(images)
    labels, bodies = labels.masked_fill(outside, 0), (bodies | supported) & ~outside
    before = F.avg_pool2d(images[:, None], FINE)[:, 0]
    cells = F.avg_pool2d(_intensity(images, strength.intensity).masked_fill(outside, AIR_HU)[:, None], FINE)[:, 0]
    cells = cells + _noise(cells, strength.intensity)
    box = mask_box(F.max_pool2d(bodies[:, None].float(), FINE)[:, 0] > 0)
    return Batch(
        hu=cells[:, None],
        coordinates=_coordinates(box, shape, 0.06 * strength.pose),
        labels=F.pixel_unshuffle(labels[:, None], FINE).long(),
        fat=(before > FAT_HU[0]) & (before < FAT_HU[1]),
    )


def _coordinates(box: Tensor, shape: tuple[int, int], jitter: float) -> Tensor:
    """(B, 2, H, W) x and y in body boxes (B, 2, 2) whose edges are jittered by a fraction `jitter` of their sides."""
    box = box + torch.randn_like(box) * jitter * (box[:, :, 1:] - box[:, :, :1])
    middle, half = box.mean(2), ((box[:, :, 1] - box[:, :, 0]) / 2).clamp(min=1.0)
    y, x = (
        ((torch.arange(count, device=box.device) + 0.5 - middle[:, axis, None]) / half[:, axis, None]).clamp(-1.5, 1.5)
        for axis, count in enumerate(shape)
    )
    return torch.stack([x[:, None, :].expand(-1, *shape), y[:, :, None].expand(-1, *shape)], 1)


def uniform(count: int, low: float, high: float, device: torch.device) -> Tensor:
    """(count, 1, 1) uniform draws."""
    return torch.rand(count, 1, 1, device=device) * (high - low) + low


def sometimes(count: int, share: float, device: torch.device) -> Tensor:
    """(count, 1, 1) ones with this probability, else zeros."""
    return (torch.rand(count, 1, 1, device=device) < share).float()


def _pose(
    images: Tensor, labels: Tensor, bodies: Tensor, shape: tuple[int, int], strength: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Rotate, mirror, scale, stretch, bend and shift; the body's centre moves near the image's centre."""
    count, size, device = len(images), images.shape[-1], images.device
    high, wide = (FINE * side for side in shape)
    matrix = _turns(count, strength, device) * constant(((wide / size, high / size),), device)
    centre = mask_box(bodies).mean(2).flip(1) * (2 / size) - 1
    shift = centre + torch.randn(count, 2, device=device) * (12 / size * strength)
    where = F.affine_grid(torch.cat([matrix, shift[:, :, None]], 2), [count, 1, high, wide], align_corners=False)
    bend = torch.randn(count, 2, 5, 6, device=device) * (7.0 / size * strength)
    bend = bend * torch.rand(count, 1, 1, 1, device=device)
    where = where + F.interpolate(bend, size=(high, wide), mode="bilinear", align_corners=True).permute(0, 2, 3, 1)
    posed = F.grid_sample((images - AIR_HU)[:, None], where, align_corners=False)[:, 0] + AIR_HU
    both = torch.stack([labels.float(), bodies.float()], 1)
    named, inside = F.grid_sample(both, where, mode="nearest", align_corners=False).unbind(1)
    return posed, named.to(torch.uint8), inside > 0.5


def _turns(count: int, strength: float, device: torch.device) -> Tensor:
    """(B, 2, 2) rotations with scales and mirrors."""

    def drawn(share: float) -> Tensor:
        return chance(count, share * strength, device)

    angle = torch.randn(count, device=device) * math.radians(6) * strength
    angle = torch.where(drawn(0.10), (torch.rand(count, device=device) - 0.5) * math.pi / 2, angle)
    angle = angle + math.pi * drawn(0.08) + math.pi / 2 * drawn(0.03)
    mirror = 1.0 - 2.0 * torch.stack([drawn(0.08), drawn(0.06)], 1).float()
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()], 1), torch.stack([angle.sin(), angle.cos()], 1)], 1)
    spread = torch.randn(count, 2, device=device) * 0.06 + torch.randn(count, 1, device=device) * 0.10
    stretch = torch.exp(spread * strength)
    return turn @ torch.diag_embed(stretch * mirror)


def _field_of_view(images: Tensor, strength: float) -> Tensor:
    """(B, rows, columns) bool: outside a reconstruction circle or a narrow field of view, on some slices."""
    count, _, columns = images.shape
    device = images.device
    y, x = grid_lines(images)
    circular, narrow = sometimes(count, 0.15 * strength, device) > 0, sometimes(count, 0.08 * strength, device) > 0
    radius = torch.where(circular, uniform(count, 0.28, 0.5, device) * columns, 1e6)
    half = torch.where(narrow, uniform(count, 0.25, 0.45, device) * columns, 1e6)
    y = y - torch.randn(count, 1, 1, device=device) * 12
    x = x - torch.randn(count, 1, 1, device=device) * 15
    return (y**2 + x**2 > radius**2) | (x.abs() > half)


def _with_tables(images: Tensor) -> tuple[Tensor, Tensor]:
    """Add a table under some patients, since the collection's tables are removed. Returns (B, rows, columns) bool:
    tables that touch the patient and therefore belong to the body's box.
    """
    count, rows, _ = images.shape
    device = images.device
    last = mask_box((images > -300).sum(2, keepdim=True) > 4)[:, 0, 1].view(-1, 1, 1)
    x = grid_lines(images)[1] - uniform(count, -10, 10, device)
    half, sag, thick = uniform(count, 80, 140, device), uniform(count, 0, 20, device), uniform(count, 3, 17, device)
    gap = uniform(count, 0, 4, device)
    depth = torch.arange(rows, device=device).view(1, -1, 1) - (last + gap - sag * (x / half) ** 2)
    inside = (depth >= 0) & (depth < thick) & (x.abs() < half) & (sometimes(count, 0.25, device) > 0)
    skin = (depth < 1.5) | (depth >= thick - 1.5)
    board = torch.where(skin, uniform(count, -600, 100, device), uniform(count, -960, -660, device))
    shown = inside & (images < -500)
    return torch.where(shown, board, images), shown & (board > -500) & (gap < 2)


def _intensity(images: Tensor, strength: float) -> Tensor:
    """Contrast agent, calibration, kernel."""
    count, device = len(images), images.device
    enhanced = images.clamp(50, 350) - 50
    images = images + enhanced * sometimes(count, 0.4 * strength, device) * uniform(count, -0.7, 0.7, device)
    images = images + (images > -900) * torch.randn(count, 1, 1, device=device) * 7 * strength
    sharper = sometimes(count, 0.6 * strength, device) * uniform(count, -1, 1.2, device)
    return images + (images - _mean3(images)) * sharper


def _noise(cells: Tensor, strength: float) -> Tensor:
    """Add noise of a random level, up to that of quarter dose on cells: white, smooth, sharp, or streaks."""
    count, device = len(cells), cells.device
    noise = torch.randn_like(cells)
    smooth = _mean3(noise)
    kind = torch.rand(count, 1, 1, device=device)
    noise = torch.where(kind < 0.35, 3 * smooth, noise)
    noise = torch.where(kind > 0.7, 1.06 * (noise - smooth), noise)
    streaks = F.avg_pool2d(torch.randn_like(cells)[:, None], (1, 5), 1, (0, 2))[:, 0] * 2.2
    noise = noise + sometimes(count, 0.15, device) * uniform(count, 0, 1.5, device) * streaks
    return noise * sometimes(count, 0.75, device) * uniform(count, 0, 1, device).square() * 50 * strength


def _mean3(images: Tensor) -> Tensor:
    return F.avg_pool2d(images[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
