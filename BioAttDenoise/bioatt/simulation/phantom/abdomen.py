"""Liver with vessels and lesions, spleen, stomach, pancreas, kidneys, bowel, great vessels and deep muscles."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bioatt.simulation.phantom.body import Body
from bioatt.simulation.phantom.paint import Colour, Paint
from bioatt.simulation.phantom.shapes import Array, Points, Shape, Tubes, ellipsoid, everywhere
from bioatt.simulation.phantom.trees import scatter, tree


def flesh(mean: float, spread: float = 2.0) -> Colour:
    """Parenchyma: nearly uniform, with coarse and fine variation of a few HU."""
    return lambda p: mean + spread * (0.6 * p.fields("coarse") + 0.6 * p.fields("middle") + 0.5 * p.fields("fine"))


def below_diaphragm(body: Body, above: Shape, gap_mm: float) -> Shape:
    """The peritoneal side of the diaphragm, inside the abdominal wall."""
    cavity = body.cavity().grow(-2)
    return everywhere(lambda p: np.maximum(gap_mm - above.sdf(p), cavity.sdf(p)))


def liver(body: Body, room: Shape) -> Iterator[Paint]:
    rng, hu = body.rng, body.hu
    right = ellipsoid(body.jitter(-70, 2, -58), (82, 94, 88))
    left = ellipsoid(body.jitter(14, -46, -34), (72, 46, 36))
    caudate = ellipsoid((-16, 8, -44), (17, 17, 26))
    hollow = ellipsoid(body.jitter(30, 36, -118), (86, 92, 84))  # stomach, duodenum and pancreas lie here
    back = ellipsoid((14, 62, -30), (52, 46, 200))  # spine, crus and aorta
    organ = right.blend(left, 34).carve(hollow, 22).carve(back, 14)
    organ = (organ | caudate) & room
    organ = Shape(organ.sdf, (-150, -105, -150), (95, 95, 12))
    colour = flesh(hu["liver"], 2.2)
    yield Paint(organ.rough(1.0, "coarse"), colour, "liver")
    ligament = ellipsoid((2, -84, -62), (3.5, 34, 34), None)
    yield Paint(ligament & organ.grow(2), -70, "skin and fat")

    cava = np.array([-20.0, 24, -12])
    hepatic = [tree(cava, part, 6.0, 0.8, rng) for part in _thirds(scatter(organ, 90, rng, 5))]
    portal = tree(np.array([-26.0, -4, -56]), scatter(organ, 130, rng, 4), 6.5, 0.7, rng)
    for vessels, blood in ((portal, hu["portal"]), *((h, hu["portal"] * 0.97) for h in hepatic)):
        yield Paint(vessels.shape() & organ, blood, "liver vessels")
    for k, centre in enumerate(scatter(organ.grow(-9), 9, rng, 3)):
        radius = rng.uniform(2.5, 8) if k else rng.uniform(8, 12)
        cyst = k > 0 and rng.random() < 0.15
        contrast = 6 - hu["liver"] if cyst else -rng.uniform(16, 42)
        shape = ellipsoid(centre, radius * rng.uniform(0.85, 1.18, 3)).rough(0.25 * np.sqrt(radius), "middle")
        yield Paint(shape, flesh(hu["liver"] + contrast), "liver lesion", softness=rng.uniform(1.0, 2.5))
    bladder = ellipsoid(body.jitter(-44, -46, -98), (17, 20, 27))
    yield Paint(bladder.grow(1.8).rough(0.8, "coarse"), hu["muscle"] + 15, "gallbladder")
    yield Paint(bladder.rough(0.8, "coarse"), 9, "gallbladder")


def _thirds(points: Array) -> list[Array]:
    """Split points into three groups by their direction around the inferior vena cava."""
    angle = np.arctan2(points[:, 1] - 24, points[:, 0] + 20)
    return [part for part in np.array_split(points[np.argsort(angle)], 3) if len(part)]


def spleen(body: Body, room: Shape) -> Iterator[Paint]:
    organ = ellipsoid(body.jitter(104, 34, -46), (40, 52, 54), (0.5, -0.85, -0.2))
    organ = organ.carve(ellipsoid((54, 2, -48), (40, 50, 56)), 12) & room
    yield Paint(organ.rough(1.5, "coarse"), flesh(body.hu["spleen"]), "spleen")


def stomach(body: Body, room: Shape) -> Iterator[Paint]:
    rng = body.rng
    x, y, z = body.jitter(0, 0, 0, mm=8)
    line = [(58, 16, -24, 29), (64, -4, -42, 31), (60, -34, -66, 28), (42, -54, -92, 22), (14, -58, -106, 17)]
    line.append((-14, -46, -98, 13))
    bag = Tubes.along([(a + x, b + y, c + z, r) for a, b, c, r in line], 5)
    bag = Shape((bag & room).sdf, bag.low, bag.high).rough(1.5, "coarse")
    yield Paint(bag.grow(4), body.hu["muscle"] + 18, "stomach")
    meal, level = rng.choice([12, 25, 35, 220], p=[0.35, 0.3, 0.25, 0.1]), rng.uniform(-62, -30)
    food = 0 if meal == 12 else 18

    def content(p: Points) -> Array:
        return np.where(p.y < level, -985, meal + food * p.fields("middle")).astype(np.float32)

    yield Paint(bag.rough(1.0, "middle"), content, "stomach")


def pancreas(body: Body) -> Iterator[Paint]:
    x, y, z = body.jitter(0, 0, 0, mm=6)
    line = [(84, 20, -66, 7), (56, 8, -72, 8), (26, -8, -78, 8), (2, -12, -86, 9), (-18, 2, -98, 12), (-20, 6, -112, 9)]
    organ = Tubes.along([(a + x, b + y, c + z, r) for a, b, c, r in line]).rough(1.6, "middle")
    colour = lambda p: body.hu["pancreas"] - 30 * np.clip(p.fields("fine") - 0.8, 0, 2)  # noqa: E731
    yield Paint(organ, colour, "pancreas")
    vein = Tubes.along([(90, 22, -60, 3.2), (52, 16, -70, 3.8), (22, 2, -77, 4.3), (-6, -2, -78, 5.5)])
    yield Paint(vein, body.hu["portal"], "vessels")


def kidneys(body: Body) -> Iterator[Paint]:
    rng, hu = body.rng, body.hu
    for side, z in ((-1, -104), (1, -90)):
        x, y, z = body.jitter(side * 66, 43, z, mm=8)
        size = rng.normal(1, 0.05)
        axis = (side * -0.22, -0.12, 1)
        organ = ellipsoid((x, y, z), (55 * size, 27 * size, 25 * size), axis)
        sinus = ellipsoid((x - side * 15, y - 5, z), (26, 14, 11), axis).rough(2, "coarse")
        gland = Tubes.along([(x - side * 18, y - 14, z + 64, 3), (x - side * 22, y - 4, z + 52, 2.6)])
        gland |= Tubes.along([(x - side * 18, y - 14, z + 64, 3), (x - side * 12, y - 2, z + 50, 2.4)])
        yield Paint(gland, hu["muscle"] + 10, "vessels")
        yield Paint(organ.rough(1.2, "coarse"), flesh(hu["kidney"], 3), "kidneys")
        pyramids = organ.grow(-7).rough(2.4, "middle")
        yield Paint(pyramids, flesh(hu["medulla"], 3), "kidneys", 2.0)
        yield Paint(sinus, -70, "kidneys", 1.5)
        pelvis = ellipsoid((x - side * 17, y - 4, z), (15, 8, 5), axis)
        yield Paint(pelvis, 12, "kidneys")
        for blood, dz in ((hu["aorta"], 5), (hu["portal"], -3)):
            root = (side * -20 if side > 0 and dz < 0 else 4, 16, z + dz, 3.2)
            yield Paint(
                Tubes.along([root, (x / 2, y - 24, z + dz, 3), (x - side * 16, y - 4, z + dz, 2.6)]), blood, "vessels"
            )


def great_vessels(body: Body) -> Iterator[Paint]:
    hu, wide = body.hu, body.rng.normal(1, 0.08)
    front = lambda z: float(body.spine_y(z)) - 29  # noqa: E731
    aorta = Tubes.along([(18, 32, -5, 10.5), *((9, front(z), z, 9.6 * wide) for z in (-50, -100, -150, -200, -240))])
    cava = Tubes.along(
        [(-26, -2, 16, 11), (-21, 20, -12, 12), *((-20, front(z) + 2, z, 11.5) for z in (-60, -120, -240))]
    )
    yield Paint(cava, hu["portal"] * 0.9, "vessels")
    yield Paint(aorta.grow(1.2), 50, "abdominal aorta")
    yield Paint(aorta, hu["aorta"], "abdominal aorta")
    if body.rng.random() < 0.4:  # calcified plaque
        z = body.rng.uniform(-180, -60)
        yield Paint(ellipsoid((9 + 9 * wide, front(z) + 3, z), (1.6, 4, 7)), 700, "abdominal aorta")
    for line, blood in (
        ([(9, front(-64) - 8, -64, 4), (4, -4, -70, 3.6), (-22, -6, -70, 3)], hu["aorta"]),  # coeliac axis
        ([(9, front(-78) - 8, -78, 3.8), (8, -14, -96, 3.6), (6, -26, -200, 3)], hu["aorta"]),  # superior mesenteric
        ([(-4, -28, -200, 4.2), (-5, -16, -100, 5), (-8, -4, -80, 6.5), (-26, -6, -58, 6.5)], hu["portal"]),
    ):
        yield Paint(Tubes.along(line), blood, "vessels")


def muscles(body: Body) -> Iterator[Paint]:
    """Psoas, quadratus lumborum and the crura, which lie inside the cavity."""
    colour = flesh(body.hu["muscle"], 4)
    for side in (-1, 1):
        psoas = [
            (side * 25, 40, -84, 4),
            (side * 34, 36, -125, 13),
            (side * 42, 32, -180, 19),
            (side * 50, 24, -245, 21),
        ]
        yield Paint(Tubes.along(psoas), colour, "muscle")
        lumbar = ellipsoid((side * 60, 62, -165), (19, 9, 80))
        yield Paint(lumbar, colour, "muscle")
        crus = Tubes.along(
            [
                (side * 9 + 4, 12, -22, 3),
                (side * 14 + 5, 18, -60, 4),
                (side * 15, 16, -110, 4),
                (side * 10, 10, -150, 2),
            ]
        )
        yield Paint(crus, colour, "muscle")


def bowel(body: Body) -> Iterator[Paint]:
    """Colon with gas and stool, small bowel with oral contrast or fluid, mesenteric vessels."""
    rng, hu = body.rng, body.hu
    contrast = rng.random() < 0.4
    yield from _mesentery(body)
    for _ in range(9):
        x, y, z = rng.uniform((-70, -66, -240), (95, 5, -112))
        line: list[tuple[float, ...]] = [(x, y, z, rng.uniform(8, 12))]
        for _ in range(7):
            x, y, z = np.clip(np.array([x, y, z]) + rng.normal(0, (26, 15, 13)), (-90, -72, -250), (105, 12, -100))
            line.append((x, y, z, rng.uniform(7, 13)))
        loop = Tubes.along(line).rough(1.2, "coarse")
        fill = rng.uniform(180, 330) if contrast and rng.random() < 0.7 else rng.uniform(5, 30)
        yield Paint(loop.grow(2.2), hu["muscle"] + 25, "bowel")
        yield Paint(loop, flesh(fill, 8), "bowel", 1.5)
    descending = [(112, 20, -76, 12), (108, 34, -110, 13), (107, 36, -160, 12), (100, 30, -250, 12)]
    ascending = [(-98, 8, -128, 19), (-102, 18, -160, 21), (-98, 14, -250, 24)]
    transverse = [
        (-92, -18, -126, 18),
        (-60, -62, -136, 16),
        (0, -74, -140, 15),
        (60, -62, -122, 15),
        (104, -8, -84, 14),
    ]
    for course in (descending, ascending, transverse):
        x, y, z = body.jitter(0, 0, 0, mm=6)
        gut = Tubes.along([(a + x, b + y, c + z, r) for a, b, c, r in course], 5).rough(2.2, "coarse")
        level = float(np.mean([b for _, b, _, _ in course])) + rng.uniform(-8, 8)

        def content(p: Points, level: float = level) -> Array:
            stool = -20 + 130 * np.minimum(p.fields("fine"), 0.6) + 60 * p.fields("middle")
            return np.where(p.y < level, -980, np.maximum(stool, -700)).astype(np.float32)

        yield Paint(gut.grow(2), hu["muscle"] + 15, "bowel")
        yield Paint(gut, content, "bowel")


def _mesentery(body: Body) -> Iterator[Paint]:
    fan = body.rng.uniform((-70, -60, -230), (85, -5, -105), (110, 3))
    yield Paint(tree(np.array([2.0, -22, -120]), fan, 4.0, 0.8, body.rng).shape(), body.hu["portal"] * 0.9, "vessels")
