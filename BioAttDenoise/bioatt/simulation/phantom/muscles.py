"""Muscles of the trunk wall, separated by thin layers of fat."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bioatt.simulation.phantom.body import Body
from bioatt.simulation.phantom.paint import Colour, Paint
from bioatt.simulation.phantom.shapes import Array, Points, Shape, everywhere


def muscle(body: Body) -> Colour:
    """Muscle with streaks of fat."""
    mean = body.hu["muscle"]
    return lambda p: (
        mean
        + 3 * p.fields("middle")
        + 2 * p.fields("fine")
        - 38 * np.clip(p.fields("fine") + 0.5 * p.fields("coarse") - 1.5, 0, 2)
    )


def sheet(surface: Shape, depth: float, mm: float, where: Shape) -> Shape:
    """A layer `mm` thick at `depth` below a surface, intersected with another shape."""
    return everywhere(lambda p: np.maximum(np.abs(surface.sdf(p) + depth) - mm / 2, where.sdf(p)))


def fat_between_muscles(body: Body) -> Iterator[Paint]:
    wall = body.wall()
    chest = everywhere(lambda p: np.maximum(-20.0 - p.z, 40 - np.hypot(p.x, p.y * 0.55)) + 0 * p.x)
    flank = everywhere(lambda p: np.maximum(p.z + 45, np.maximum(72 - np.abs(p.x), p.y - 52)) + 0 * p.x)

    def between_ribs_and_outer_muscles(p: Points) -> Array:
        depth = body.wall_thickness(p) - 12.5
        return np.maximum(np.abs(wall.sdf(p) + depth) - 0.9 - 0.5 * p.fields("coarse"), chest.sdf(p))

    yield Paint(everywhere(between_ribs_and_outer_muscles), -80, "skin and fat", 1.2)
    for depth in (6.5, 12.5):
        yield Paint(sheet(wall, depth, 1.1, flank).rough(0.3, "coarse"), -75, "skin and fat", 1.0)
    rectus = everywhere(
        lambda p: (
            np.maximum(p.z + 40, np.maximum(p.y + 30, np.abs(np.abs(p.x) - 66 + 4 * p.fields("coarse")) - 0.9))
            + 0 * p.x
        )
    )
    yield Paint(rectus & wall, -85, "skin and fat", 1.2)
    alba = everywhere(lambda p: np.maximum(p.z + 40, np.maximum(p.y + 30, np.abs(p.x) - 2.2)) + 0 * p.x)
    yield Paint(alba & wall.grow(-2), -60, "skin and fat", 1.5)

    def erector(side: int) -> Shape:
        def sdf(p: Points) -> Array:
            lumbar = np.interp(p.z, [-120, 20], [1, 0])
            x, y = side * (27 + 8 * lumbar), body.spine_y(p.z) + 40 + 2 * lumbar
            rx, ry = 19 + 11 * lumbar, 13 + 9 * lumbar
            return ((np.hypot((p.x - x) / rx, (p.y - y) / ry) - 1) * ry).astype(np.float32)

        return everywhere(sdf)

    for side in (-1, 1):
        group = erector(side)
        yield Paint(group.grow(1.3) & wall, -70, "skin and fat", 1.2)
        yield Paint(group, muscle(body), "muscle")
