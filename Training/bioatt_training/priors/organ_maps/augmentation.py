"""What may differ between two scans of one level of the body: pose, shape, field of view, table, contrast agent,
kernel, dose, a missing organ, a tumour, ascites. Each change keeps the labels true."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bioatt.priors.organ_cells import body_box, coordinates
from bioatt_training.priors.organ_maps.content import change_content
from bioatt_training.priors.organ_maps.data import AIR_HU, FINE

SHAPE = (112, 144)
"""Rows and columns of cells that training shows the network: 370 × 475 mm."""
FAT_HU = (-140.0, -60.0)


class Batch(NamedTuple):
    """hu (B, 1, H, W) and coordinates (B, 2, H, W) on the network's cells; labels (B, 4, H, W) of the four training
    cells of each; fat (B, H, W): cells of fat, which few organs hold."""

    hu: Tensor
    coordinates: Tensor
    labels: Tensor
    fat: Tensor


def augment(images: Tensor, labels: Tensor) -> Batch:
    """images (B, GRID, GRID) HU and labels (B, GRID, GRID) on training cells → a changed batch.

    Drawn from torch's global generator.
    """
    images, labels = change_content(images.float(), labels)
    images, labels = _pose(images, labels)
    outside = _field_of_view(images)
    images, labels = _with_tables(images), labels.masked_fill(outside, 0)
    before = F.avg_pool2d(images[:, None], FINE)[:, 0]
    cells = F.avg_pool2d(_intensity(images).masked_fill(outside, AIR_HU)[:, None], FINE)[:, 0]
    cells = cells + _noise(cells)
    places = np.stack([_coordinates(image, 0.06) for image in cells.numpy()])
    return Batch(
        hu=cells[:, None],
        coordinates=torch.from_numpy(places),
        labels=F.pixel_unshuffle(labels[:, None], FINE).long(),
        fat=(before > FAT_HU[0]) & (before < FAT_HU[1]),
    )


def _coordinates(cells: np.ndarray, jitter: float) -> np.ndarray:
    """Coordinates in a body box whose edges are moved by a share `jitter` of its sides."""
    moved = []
    for extent in body_box(cells):
        near, far = (torch.randn(2) * jitter * (extent.stop - extent.start)).tolist()
        moved.append(slice(round(extent.start + near), round(extent.stop + far)))
    return coordinates((moved[0], moved[1]), cells.shape)


def uniform(count: int, low: float, high: float) -> Tensor:
    """(count, 1, 1) uniform draws."""
    return torch.rand(count, 1, 1) * (high - low) + low


def sometimes(count: int, chance: float) -> Tensor:
    """(count, 1, 1) ones with this chance, else zeros."""
    return (torch.rand(count, 1, 1) < chance).float()


def _pose(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Turn, mirror, scale, stretch, bend and shift; the middle of the body comes near the middle."""
    count, size = len(images), images.shape[-1]
    high, wide = (FINE * side for side in SHAPE)
    angle = torch.randn(count) * math.radians(6)
    angle = torch.where(torch.rand(count) < 0.10, (torch.rand(count) - 0.5) * math.pi / 2, angle)
    angle = angle + math.pi * (torch.rand(count) < 0.08) + math.pi / 2 * (torch.rand(count) < 0.03)
    mirror = 1.0 - 2.0 * (torch.rand(count, 2) < torch.tensor([0.08, 0.06]))
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()], 1), torch.stack([angle.sin(), angle.cos()], 1)], 1)
    stretch = torch.exp(torch.randn(count, 2) * 0.06 + torch.randn(count, 1) * 0.10)
    matrix = turn @ torch.diag_embed(stretch * mirror) @ torch.diag(torch.tensor([wide / size, high / size]))
    boxes = [body_box(image) for image in images[:, ::4, ::4].numpy()]
    centre = torch.tensor([[4 * (b.start + b.stop) / size - 1 for b in (columns, rows)] for rows, columns in boxes])
    shift = centre + torch.randn(count, 2) * (12 / size)
    where = F.affine_grid(torch.cat([matrix, shift[:, :, None]], 2), [count, 1, high, wide], align_corners=False)
    bend = torch.randn(count, 2, 5, 6) * (5.0 / size) * (torch.rand(count, 1, 1, 1) * 1.4)
    where = where + F.interpolate(bend, size=(high, wide), mode="bilinear", align_corners=True).permute(0, 2, 3, 1)
    posed = F.grid_sample((images - AIR_HU)[:, None], where, align_corners=False)[:, 0] + AIR_HU
    named = F.grid_sample(labels[:, None].float(), where, mode="nearest", align_corners=False)[:, 0]
    return posed, named.to(torch.uint8)


def _field_of_view(images: Tensor) -> Tensor:
    """(B, rows, columns) bool: outside a reconstruction circle or a narrow field, on some slices."""
    count, rows, columns = images.shape
    y = torch.arange(rows)[None, :, None] - rows / 2
    x = torch.arange(columns)[None, None, :] - columns / 2
    radius = torch.where(torch.rand(count, 1, 1) < 0.15, uniform(count, 0.28, 0.5) * columns, torch.tensor(1e6))
    off_y, off_x = torch.randn(count, 1, 1) * 12, torch.randn(count, 1, 1) * 15
    circle = (y - off_y) ** 2 + (x - off_x) ** 2 > radius**2
    narrow = torch.where(torch.rand(count, 1, 1) < 0.08, uniform(count, 0.25, 0.45) * columns, torch.tensor(1e6))
    return circle | ((x - off_x).abs() > narrow)


def _with_tables(images: Tensor) -> Tensor:
    """A table under some of the patients: the collection's are removed."""
    return torch.stack([_table(image) if torch.rand(()) < 0.25 else image for image in images])


def _table(image: Tensor) -> Tensor:
    rows = (image > -300).sum(1).gt(4).nonzero()
    if len(rows) == 0:
        return image
    draw = torch.rand(7).tolist()
    x = torch.arange(image.shape[1]) - image.shape[1] / 2 - 20 * (draw[0] - 0.5)
    half = 80 + 60 * draw[1]
    depth = torch.arange(image.shape[0])[:, None] - (rows.max() + 2 - 20 * draw[2] * (x / half) ** 2)[None, :]
    thick = 3 + 14 * draw[3]
    inside = (depth >= 0) & (depth < thick) & (x.abs() < half)[None, :]
    skin = inside & ((depth < 1.5) | (depth >= thick - 1.5))
    board = torch.where(skin, torch.tensor(-600 + 700 * draw[4]), torch.tensor(-960 + 300 * draw[5]))
    return torch.where(inside & (image < -500), board, image)


def _intensity(images: Tensor) -> Tensor:
    """Contrast agent, calibration, kernel."""
    count = len(images)
    enhanced = images.clamp(50, 350) - 50
    images = images + enhanced * sometimes(count, 0.4) * uniform(count, -0.7, 0.7)
    images = images + (images > -900) * torch.randn(count, 1, 1) * 7
    return images + (images - _mean3(images)) * sometimes(count, 0.6) * uniform(count, -1, 1.2)


def _noise(cells: Tensor) -> Tensor:
    """Noise of a drawn level, up to what a quarter of the dose leaves on cells: white, smooth, sharp, or in streaks."""
    count = len(cells)
    noise = torch.randn_like(cells)
    smooth = _mean3(noise)
    kind = torch.rand(count, 1, 1)
    noise = torch.where(kind < 0.35, 3 * smooth, noise)
    noise = torch.where(kind > 0.7, 1.06 * (noise - smooth), noise)
    streaks = F.avg_pool2d(torch.randn_like(cells)[:, None], (1, 5), 1, (0, 2))[:, 0] * 2.2
    noise = noise + sometimes(count, 0.15) * uniform(count, 0, 1.5) * streaks
    return noise * sometimes(count, 0.75) * uniform(count, 0, 1).square() * 50


def _mean3(images: Tensor) -> Tensor:
    return F.avg_pool2d(images[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
