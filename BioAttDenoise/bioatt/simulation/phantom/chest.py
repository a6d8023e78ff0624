"""Lungs with their vessels and airways, heart, great vessels, mediastinum."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bioatt.simulation.phantom.body import Body
from bioatt.simulation.phantom.paint import Paint
from bioatt.simulation.phantom.shapes import Array, Points, Shape, Tubes, ellipsoid, everywhere
from bioatt.simulation.phantom.trees import scatter, tree

HEART_AXIS = (0.76, -0.56, -0.33)  # base to apex


def half(side: int) -> Shape:
    """The patient's left (+1) or right (−1) half."""
    return everywhere(lambda p: -side * p.x)


def lungs(body: Body) -> Iterator[Paint]:
    rng = body.rng
    chest = (body.cavity().grow(-1.5) & body.above_diaphragm()) - body.mediastinum()
    chest = Shape(chest.sdf, (-160, -110, -105), (160, 110, 215))
    aerated, dependent = rng.normal(-865, 15), rng.uniform(25, 60)

    def parenchyma(p: Points) -> Array:
        posterior = np.clip((p.y + 60) / 150, 0, 1) ** 2
        return aerated + dependent * posterior + 10 * p.fields("fine") + 9 * p.fields("middle") + 8 * p.fields("coarse")

    yield Paint(chest, parenchyma, "lungs")
    for side in (-1, 1):
        tilt = rng.normal(0, 4)

        def fissure(p: Points, side: int = side, tilt: float = tilt) -> Array:
            plane = (p.y - 0.75 * (p.z - 55) - 12 - tilt - 5 * p.fields("coarse")) * 0.8
            return np.maximum(np.abs(plane) - 0.45, -side * p.x)

        yield Paint(chest.grow(-1) & everywhere(fissure), -740, "lungs")
    nodule = scatter(chest, 1, rng, 12)
    for centre in nodule:
        radius = rng.uniform(2, 5)
        yield Paint(ellipsoid(centre, radius * rng.uniform(0.8, 1.2, 3)).rough(0.5, "middle"), 35, "lung vessels", 1.2)
    for side in (-1, 1):
        field = chest & half(side)
        hilum = np.array([side * 34 + 4, 6, 74 - 4 * side])
        for tips, radius, offset in ((800, 7.5, (0, 0, 0)), (600, 6.5, (-side * 6, 4, -16))):
            vessels = tree(hilum + offset, scatter(field, tips, rng, 2.5), radius, 0.42, rng, exponent=2.75)
            yield Paint(vessels.shape(), 42, "lung vessels")
        bronchi = tree(hilum + np.array([0, 4, 4]), scatter(field, 14, rng, 30), 5.0, 1.2, rng, exponent=2.5)
        yield Paint(bronchi.shape().grow(1.1), 10, "airways")
        yield Paint(bronchi.shape(), -960, "airways")


def heart(body: Body) -> Iterator[Paint]:
    """Pericardial fat, four chambers with muscle around the left ventricle, and the mediastinum's soft tissue."""
    hu, axis = body.hu, HEART_AXIS
    yield Paint(ellipsoid((16, -27, 40), (64, 49, 48), axis).rough(1.5, "coarse"), -88, "mediastinum")
    muscle = ellipsoid(body.jitter(38, -36, 34), (47, 35, 35), axis)
    cavity = ellipsoid(body.jitter(36, -34, 36, mm=2), (36, 23, 23), axis)
    right = ellipsoid((2, -50, 34), (46, 26, 31), (0.85, -0.4, -0.33)) - muscle.grow(0.5)
    myocardium = lambda p: hu["myocardium"] + 3 * p.fields("middle")  # noqa: E731
    atria = ellipsoid(body.jitter(-30, -20, 46), (21, 26, 31)).blend(ellipsoid((8, 7, 62), (36, 17, 21)), 5)
    yield Paint(atria.rough(1.2, "coarse"), hu["blood"], "heart")
    yield Paint(right.grow(3).rough(1.2, "coarse"), myocardium, "heart")
    yield Paint(right.rough(1.2, "coarse"), hu["blood"], "heart")
    yield Paint(muscle.rough(1.2, "coarse"), myocardium, "heart")
    yield Paint(cavity.rough(1.5, "middle"), hu["blood"], "heart")


def veins(body: Body) -> Iterator[Paint]:
    """The caval veins, which end in the right atrium."""
    superior = Tubes.along([(-30, -17, 50, 9), (-27, -17, 80, 8.5), (-26, -20, 120, 8), (-24, -24, 165, 8)])
    inferior = Tubes.along([(-30, -12, 36, 11), (-26, -2, 16, 11), (-22, 14, -6, 12)])
    for vein in (superior, inferior):
        yield Paint(vein.grow(1), 45, "vessels")
        yield Paint(vein, body.hu["blood"], "vessels")


def great_vessels(body: Body) -> Iterator[Paint]:
    hu, rng = body.hu, body.rng
    wide = rng.normal(1, 0.07)
    venous, arterial = hu["blood"], hu["aorta"]
    trunk = [(10, -46, 66, 13), (18, -38, 84, 13), (20, -18, 94, 12)]
    for points, colour, label in (
        (trunk, venous, "vessels"),
        ([(18, -18, 93, 10), (-6, -8, 90, 9.5), (-36, 2, 84, 8)], venous, "vessels"),
        ([(20, -16, 95, 10), (34, 0, 94, 9), (42, 8, 88, 7)], venous, "vessels"),
        ([(2, -22, 58, 13), (-8, -30, 82, 15), (-12, -24, 106, 14), (-4, -10, 121, 13), (9, 8, 122, 12.5),
          (19, 26, 112, 12), (23, 36, 90, 11.5), (24, 36, 40, 11), (18, 32, -10, 10.5), (10, 22, -48, 10.5)],
         arterial, "thoracic aorta"),
    ):  # fmt: skip
        tube = Tubes.along([(x, y, z, r * wide) for x, y, z, r in points], 6)
        yield Paint(tube.grow(1.2), 45, label)
        yield Paint(tube, colour, label)
    for x, y, z in rng.normal((-4, 2, 80), (16, 12, 22), (7, 3)):  # lymph nodes
        yield Paint(ellipsoid((x, y, z), rng.uniform(2.5, 5, 3)), 50, "mediastinum")
    gullet = Tubes.along([(6, 26, 150, 6.5), (4, 25, 90, 6.5), (10, 20, 30, 7), (20, 12, -12, 7.5), (34, 8, -28, 8)])
    yield Paint(gullet, 48, "mediastinum")
    yield Paint(gullet.grow(-4.6), -350, "mediastinum")
    for points in (
        [(0, 4, 230, 8.6), (0, 6, 150, 8.6), (-1, 8, 104, 8.8)],
        [(-2, 8, 104, 7), (-20, 9, 86, 6.3), (-34, 10, 76, 5.6)],
        [(1, 8, 104, 6.6), (20, 12, 86, 5.8), (37, 11, 70, 5.2)],
    ):
        airway = Tubes.along(points)
        yield Paint(airway.grow(1.6), 25, "airways")
        yield Paint(airway, -985, "airways")
