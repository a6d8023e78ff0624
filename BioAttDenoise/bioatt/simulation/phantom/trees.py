"""Vessel trees that fill an organ: they reach targets scattered in it by recursive bisection."""

from __future__ import annotations

import numpy as np

from bioatt.simulation.phantom.shapes import Points, Shape, Tubes


def scatter(shape: Shape, count: int, rng: np.random.Generator, depth_mm: float = 1.0) -> np.ndarray:
    """Up to `count` random points (n, 3) at least `depth_mm` below the surface of a shape without tubes."""
    tries = rng.uniform(shape.low, shape.high, (1, 40 * count, 3)).astype(np.float32)
    points = Points(tries[..., 0], tries[..., 1], tries[..., 2], lambda _: np.zeros(1, np.float32))
    inside = shape.sdf(points)[0] < -depth_mm
    return tries[0][inside][:count]


def tree(
    root: np.ndarray,
    targets: np.ndarray,
    radius_mm: float,
    tip_mm: float,
    rng: np.random.Generator,
    exponent: float = 3.0,
) -> Tubes:
    """Vessel tree from `root` (3,) to every target (n, 3), mm.

    Radii follow Murray's law (Proc Natl Acad Sci 1926;12:207): r ∝ (number of tips fed)^(1/exponent), from `radius_mm`
    at the root down to at least `tip_mm`.
    """
    segments: list[np.ndarray] = []
    total = len(targets)

    def radius(count: int) -> float:
        return max(radius_mm * (count / total) ** (1 / exponent), tip_mm)

    def grow(start: np.ndarray, tips: np.ndarray, r0: float) -> None:
        count = len(tips)
        centre = tips.mean(0)
        reach = 1.0 if count == 1 else rng.uniform(0.3, 0.5)
        end = start + reach * (centre - start)
        r1 = radius(count)
        bend = (start + end) / 2 + rng.normal(0, 0.07 * np.linalg.norm(end - start), 3)
        middle = (r0 + r1) / 2
        segments.append(np.concatenate([start, [r0], bend, [middle]]))
        segments.append(np.concatenate([bend, [middle], end, [r1 if count > 1 else tip_mm * 0.7]]))
        if count == 1:
            return
        axis = np.linalg.svd(tips - centre, full_matrices=False)[2][0]
        side = (tips - centre) @ axis
        first = side < np.quantile(side, rng.uniform(0.3, 0.7))
        if first.all() or not first.any():
            first = np.arange(count) < count // 2
        for part in (tips[first], tips[~first]):
            grow(end, part, radius(len(part)))

    if total:
        grow(np.asarray(root, float), targets.astype(float), radius_mm)
    return Tubes(np.array(segments))
