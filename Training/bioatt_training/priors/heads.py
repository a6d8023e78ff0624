"""Drawn slices through heads of many shapes: the labelled CT holds a single head, too little to know another by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from bioatt.anatomy.descriptors import DescriptorSet
from bioatt.priors.slice_image import AIR_HU
from bioatt_training.priors.labelled import FINE_CELL_MM, FINE_GRID, LabelledSlices

Field = NDArray[np.float64]


def drawn_heads(count: int, descriptors: DescriptorSet, seed: int = 0) -> LabelledSlices:
    """`count` slices from the vault down to the skull base, each of a head of its own; presence of skull and brain."""
    generator = np.random.default_rng(seed)
    presence = np.zeros((count, len(descriptors)), bool)
    for name in ("skull", "brain"):
        presence[:, descriptors.descriptors.index(name)] = True
    names = np.array([f"drawn-{number}" for number in range(count)])
    return LabelledSlices(
        images=np.stack([_head(generator) for _ in range(count)]).astype(np.float16),
        presence=presence,
        sure=np.ones_like(presence),
        patients=names,
        files=names,
        regions=np.full(count, "head"),
        z=np.zeros(count, np.int64),
    )


def _head(generator: np.random.Generator) -> Field:
    draw = generator.uniform
    axis = (np.arange(FINE_GRID) - FINE_GRID / 2 + 0.5) * FINE_CELL_MM
    y, x = np.meshgrid(axis, axis, indexing="ij")
    wobble = gaussian_filter(generator.normal(size=y.shape), 12) * 12 * draw(0, 0.05)
    level = draw(0, 1)  # 1 at the vault's top, 0 at the skull base
    shrink = np.sqrt(1 - max(level - 0.4, 0) ** 2 / 0.45)
    half_x, half_y = shrink * draw(64, 80), shrink * draw(80, 102)
    oval = draw(0, 0.15)

    def radius(margin: float) -> Field:
        return np.hypot(x / (half_x - margin) * (1 + oval * y / half_y), y / (half_y - margin)) + wobble

    scalp, bone = draw(3, 8), draw(4, 9) / np.sqrt(shrink)
    hu = np.full(y.shape, AIR_HU)
    hu[radius(-scalp) < 1] = draw(-60, 40)
    hu[radius(0) < 1] = draw(800, 1500)
    if bone > 6:
        hu[(radius(0.35 * bone) < 1) & (radius(0.65 * bone) >= 1)] = draw(300, 700)
    inside = radius(bone) < 1
    texture = gaussian_filter(generator.normal(size=y.shape), 2) * 7 * draw(4, 9)
    hu[inside] = draw(26, 42) + texture[inside]
    hu[inside & (np.abs(x) < draw(0.8, 2))] = draw(40, 70)  # falx
    if 0.25 < level < 0.75:
        _ventricles(hu, x, y, generator)
    if level < 0.3:
        _skull_base(hu, x, y, half_x, half_y, generator)
    return hu


def _ventricles(hu: Field, x: Field, y: Field, generator: np.random.Generator) -> None:
    gap, width, length = generator.uniform((4, 2, 15), (14, 9, 32))
    middle = generator.uniform(-12, 8)
    for side in (-1, 1):
        horn = ((x - side * (gap + 0.15 * np.abs(y - middle))) / width) ** 2 + ((y - middle) / length) ** 2
        hu[horn < 1] = generator.uniform(2, 14)


def _skull_base(hu: Field, x: Field, y: Field, half_x: float, half_y: float, generator: np.random.Generator) -> None:
    """Orbits, air cells of nose and mastoids, and the petrous bones between them, roughly where they lie."""
    draw = generator.uniform
    face = y < -half_y * draw(0.3, 0.55)
    head = hu > -200
    hu[face & head & (np.hypot(x, y + half_y) < draw(20, 34))] = draw(200, 900)
    for side in (-1, 1):
        orbit = np.hypot(x - side * half_x * 0.5, y + half_y * 0.68)
        hu[orbit < 20] = draw(-110, -60)
        hu[orbit < 12] = draw(0, 25)
        petrous = np.hypot((x - side * half_x * 0.55) + side * y * 0.6, (y - half_y * 0.12) / 0.45)
        hu[petrous < draw(16, 26)] = draw(600, 1300)
        mastoid = np.hypot(x - side * half_x * 0.8, y - half_y * 0.25)
        cells = gaussian_filter(generator.normal(size=y.shape), 1) > 0.05
        hu[(mastoid < draw(8, 16)) & cells] = draw(-900, -300)
        hu[np.hypot((x - side * draw(4, 12)) / 0.6, y + half_y * draw(0.75, 0.9)) < draw(6, 14)] = draw(-1000, -700)
