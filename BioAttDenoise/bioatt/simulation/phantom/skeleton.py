"""Spine, ribs and sternum."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from bioatt.simulation.phantom.body import BACK, FRONT, HALF_WIDTH, Body, at_height
from bioatt.simulation.phantom.paint import Colour, Paint
from bioatt.simulation.phantom.shapes import Array, Points, Shape, Tubes, ellipsoid

# Lower end plates of the vertebral bodies, L5 … T3, mm.
LEVELS = np.array([-252, -213, -175, -139, -105, -74, -46, -20, 5, 29, 52, 74, 95, 115, 134])


def spongy(mean: float, spread: float) -> Colour:
    """Cancellous bone with mottled marrow."""
    return lambda p: mean + spread * (0.7 * p.fields("fine") + 0.5 * p.fields("middle"))


def vertebra(body: Body, low: float, high: float) -> tuple[Shape, Shape]:
    """Vertebral body and posterior elements between two levels."""
    z, height = (low + high) / 2 + 3, high - low
    lumbar = float(np.interp(z, [-120, 60], [1, 0]))
    y = float(body.spine_y(z))
    rx, ry = 15.5 + 8.5 * lumbar, 13.5 + 4 * lumbar
    half = height / 2 - 2.5 - 1.2 * lumbar

    def sdf(p: Points) -> Array:
        waist = 0.93 + 0.07 * ((p.z - z) / half) ** 2
        notch = 2.5 * np.exp(-((p.x / 9) ** 2)) * (p.y > y)
        radial = (np.hypot(p.x / rx, (p.y - y + notch * 0.4) / ry) - waist) * ry
        return np.maximum(radial, np.abs(p.z - z) - half).astype(np.float32)

    centrum = Shape(sdf, (-rx - 2, y - ry - 2, z - half), (rx + 2, y + ry + 2, z + half))
    canal = y + ry + 8
    parts = []
    for side in (-1, 1):
        lamina = np.array([side * 12.5, canal + 3, z])
        wide = 26 + 12 * lumbar
        up = 4 if lumbar < 0.5 else 0
        parts += [
            [side * (rx - 5), y + ry - 3, z + 4, 4.2, *lamina, 4.5],  # pedicle
            [*lamina, 4.5, side * wide, canal + 5 - 3 * lumbar + up, z + 3, 2.8],  # transverse process
            [*lamina, 4.5, 0, canal + 14, z - 5, 3.4],  # lamina
            [side * 14, canal + 4, z + 10, 3.6, side * 13, canal + 6, z - 12, 3.8],  # articular processes
        ]
    tip = z - 8 - 14 * (1 - lumbar)
    parts.append([0, canal + 14, z - 4, 3.2, 0, canal + 14 + 15 + 5 * lumbar, tip, 3.4])
    return centrum, Tubes(np.array(parts)).shape()


def rib_line(level: float, side: int, number: int) -> Array:
    """Centre line (n, 3) of a rib that leaves the spine at height `level` and descends along the chest wall."""
    floating = number >= 11
    end = {12: 1.35, 11: 1.9}.get(number, 2.72 - 0.04 * (number - 5))
    angle = np.linspace(0.16, end, 26)  # 0 at the back, π at the sternum
    fall = (30 if floating else 62) * (angle / 2.7) ** 1.15
    z = level + 8 - fall
    inset = 8 + 5 * np.sin(angle) + 5 * np.clip(np.cos(angle), 0, 1)
    a, front, back = at_height(z, HALF_WIDTH), at_height(z, FRONT), at_height(z, BACK)
    b = np.where(angle < np.pi / 2, back, front)
    s, c = np.sin(angle), np.cos(angle)
    radius = ((s / a) ** 2.35 + (np.abs(c) / b) ** 2.35) ** (-1 / 2.35) - inset
    return np.stack([side * radius * s, radius * c, z], 1)


def skeleton(body: Body) -> Iterator[Paint]:
    """Bones from back to front, cortex first, then marrow; spinal canal and discs."""
    rng = body.rng
    marrow, cortex = rng.normal(165, 35), rng.normal(640, 60)
    for number, level in enumerate(LEVELS[4:], start=1):  # T12 has number 1 here
        number = 13 - number
        if number < 1:
            continue
        for side in (-1, 1):
            line = rib_line(level + rng.normal(0, 1.5), side, number)
            size = rng.normal(1, 0.05) * (0.85 if number > 10 else 1)
            thick = np.full(len(line), 5.2 * size)
            rib = np.column_stack([line, thick])
            yield Paint(Tubes(np.hstack([rib[:-1], rib[1:]])).shape(), cortex, "bone")
            rib[:, 3] -= 1.7
            yield Paint(Tubes(np.hstack([rib[:-1], rib[1:]])).shape(), spongy(marrow * 0.75, 45), "bone")
            if number <= 10:  # costal cartilage climbs to the sternum
                x, y, z = line[-1]
                goal = (side * 14, -float(at_height(z + 25, FRONT)) + 13, min(z + 30, 150))
                cartilage = [(x, y, z, 4.6), ((x + goal[0]) / 2, (y + goal[1]) / 2 - 2, z + 8, 4.8), (*goal, 4.6)]
                yield Paint(Tubes.along(cartilage), 105, "muscle")
    plates = [
        ellipsoid((0, -float(at_height(z, FRONT)) + 11 + lean, z), (width, 6.5, half))
        for z, lean, width, half in ((78, 0, 18, 46), (138, 2, 27, 24))
    ]
    for plate in plates:
        yield Paint(plate, cortex * 0.6, "bone")
    for plate in plates:
        yield Paint(plate.grow(-1.5), spongy(120, 40), "bone")
    for low, high in itertools.pairwise(LEVELS):
        centrum, arch = vertebra(body, low, high)
        y, lumbar = float(body.spine_y(low)), float(np.interp(low, [-120, 60], [1, 0]))
        disc = ellipsoid((0, y, low + 2), (15.5 + 8.5 * lumbar, 13.5 + 4 * lumbar, 7))
        yield Paint(disc, 88, "spine")
        canal = Tubes(np.array([[0, y + 24, low - 4, 9.5, 0, float(body.spine_y(high)) + 23, high + 4, 9.5]])).shape()
        yield Paint(canal, 18, "spine")
        cord = Tubes(np.array([[0, y + 24, low - 4, 5, 0, float(body.spine_y(high)) + 23, high + 4, 5]])).shape()
        yield Paint(cord, 38, "spine")
        yield Paint(arch, cortex, "spine")
        yield Paint(arch.grow(-1.6), spongy(marrow * 1.3, 60), "spine")
        yield Paint(centrum, cortex * 0.8, "spine")
        yield Paint(centrum.grow(-1.3), spongy(marrow, 42), "spine")
