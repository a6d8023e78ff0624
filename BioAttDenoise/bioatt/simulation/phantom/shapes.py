"""Solid shapes by approximate signed distance, and the plane they are painted on.

A shape gives the signed distance in mm (positive outside) for every pixel of a horizontal plane. A pixel's partial
volume is then clip(1/2 − distance / pixel, 0, 1), which gives soft edges without supersampling the plane.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

Array = np.ndarray
Vector = Sequence[float] | np.ndarray
Sdf = Callable[["Points"], Array]
FAR = 30.0  # mm; distance reported outside the box of a thin shape


class Noise:
    """Smooth random function of space with zero mean and unit variance: a periodic cube of blurred white noise."""

    def __init__(self, rng: np.random.Generator, cell_mm: float, size: int = 64) -> None:
        from scipy.ndimage import gaussian_filter

        cube = gaussian_filter(rng.standard_normal((size, size, size)), 1.1, mode="wrap")
        self.cube = (cube / cube.std()).astype(np.float32)
        self.cell_mm = cell_mm

    def plane(self, x: Array, y: Array, z: float) -> Array:
        """Values on the grid of coordinates y (h,), x (w,) at height z, all in mm: (h, w) float32."""

        def neighbours(mm: Array) -> tuple[Array, Array, Array]:
            position = np.asarray(mm) / self.cell_mm
            low = np.floor(position).astype(int)
            return low % size, (low + 1) % size, (position - low).astype(np.float32)

        size = len(self.cube)
        low, high, t = neighbours(np.array([z]))
        values = self.cube[low[0]] * (1 - t[0]) + self.cube[high[0]] * t[0]
        low, high, t = neighbours(y)
        values = values[low] * (1 - t[:, None]) + values[high] * t[:, None]
        low, high, t = neighbours(x)
        return values[:, low] * (1 - t) + values[:, high] * t


@dataclass
class Points:
    """Points to evaluate at: x, y (h, w) and the plane's z (or scattered points) in mm, and noise fields by name."""

    x: Array
    y: Array
    z: float | Array
    fields: Callable[[str], Array]


class Shape:
    """A solid by its approximate signed distance (negative inside), with a bounding box (mm)."""

    def __init__(self, sdf: Sdf, low: Vector, high: Vector) -> None:
        self.sdf, self.low, self.high = sdf, np.asarray(low, float), np.asarray(high, float)

    def __and__(self, other: Shape) -> Shape:
        return Shape(
            lambda p: np.maximum(self.sdf(p), other.sdf(p)),
            np.maximum(self.low, other.low),
            np.minimum(self.high, other.high),
        )

    def __sub__(self, other: Shape) -> Shape:
        return Shape(lambda p: np.maximum(self.sdf(p), -other.sdf(p)), self.low, self.high)

    def blend(self, other: Shape, radius: float) -> Shape:
        """Union with the seam rounded over about `radius` mm."""

        def sdf(p: Points) -> Array:
            a, b = self.sdf(p), other.sdf(p)
            fillet = np.maximum(radius - np.abs(a - b), 0)
            return np.minimum(a, b) - fillet * fillet / (4 * radius)

        return Shape(sdf, np.minimum(self.low, other.low) - radius / 4, np.maximum(self.high, other.high) + radius / 4)

    def carve(self, other: Shape, radius: float) -> Shape:
        """Difference with the rim rounded over about `radius` mm."""

        def sdf(p: Points) -> Array:
            a, b = self.sdf(p), -other.sdf(p)
            fillet = np.maximum(radius - np.abs(a - b), 0)
            return np.maximum(a, b) + fillet * fillet / (4 * radius)

        return Shape(sdf, self.low, self.high)

    def __or__(self, other: Shape) -> Shape:
        return self.blend(other, 1e-3)

    def grow(self, mm: float) -> Shape:
        """The shape with its surface moved outward by mm (inward if negative)."""
        return Shape(lambda p: self.sdf(p) - mm, self.low - mm, self.high + mm)

    def rough(self, mm: float, noise: str) -> Shape:
        """The shape with its surface displaced by a noise field of standard deviation mm."""
        return Shape(lambda p: self.sdf(p) + mm * p.fields(noise), self.low - 2 * mm, self.high + 2 * mm)

    def shell(self, mm: float) -> Shape:
        """The outermost mm of the shape."""
        return self - self.grow(-mm)


def ellipsoid(centre: Vector, radii: Vector, axis: Vector | None = None) -> Shape:
    """Ellipsoid in mm; with `axis`, the first radius lies along that direction, the others perpendicular to it."""
    c, r = np.asarray(centre, float), np.asarray(radii, float)
    frame = np.eye(3)
    if axis is not None:
        first = np.asarray(axis, float) / np.linalg.norm(axis)
        second = np.cross([0, 0, 1.0], first)
        second /= np.linalg.norm(second)
        frame = np.stack([first, second, np.cross(first, second)])
    half = np.sqrt(((frame * r[:, None]) ** 2).sum(0))
    rows = frame.astype(np.float32)

    def sdf(p: Points) -> Array:
        dx, dy, dz = p.x - np.float32(c[0]), p.y - np.float32(c[1]), np.asarray(p.z - c[2], np.float32)
        inside = gradient = np.float32(0)
        for row, radius in zip(rows, r.astype(np.float32), strict=True):
            q = (row[0] * dx + row[1] * dy + row[2] * dz) / radius
            inside = inside + q * q
            gradient = gradient + (q / radius) ** 2
        # first-order distance to the level set, finite at the centre
        return (inside - np.sqrt(inside)) / np.maximum(np.sqrt(gradient), 1e-3)

    return Shape(sdf, c - half, c + half)


def everywhere(sdf: Sdf) -> Shape:
    """A shape without bounds."""
    return Shape(sdf, (-1e4, -1e4, -1e4), (1e4, 1e4, 1e4))


@dataclass
class Tubes:
    """Chains of tapered capsules: rows (x0, y0, z0, r0, x1, y1, z1, r1) in mm."""

    segments: Array
    index: Array = field(init=False)

    def __post_init__(self) -> None:
        self.segments = np.asarray(self.segments, np.float32).reshape(-1, 8)

    @staticmethod
    def along(points: Sequence[Sequence[float]], smooth: int = 4) -> Shape:
        """A tube through points (x, y, z, r), smoothed by Catmull–Rom interpolation with `smooth` steps per span."""
        p = np.asarray(points, float)
        p = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
        t = np.arange(smooth)[:, None] / smooth
        spans = [
            b + 0.5 * t * (c - a) + t**2 * (a - 2.5 * b + 2 * c - 0.5 * d) + t**3 * 0.5 * (3 * b - 3 * c + d - a)
            for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False)
        ]
        curve = np.vstack([*spans, p[-2:-1]])
        return Tubes(np.hstack([curve[:-1], curve[1:]])).shape()

    def shape(self) -> Shape:
        s = self.segments
        widest = np.maximum(s[:, 3], s[:, 7])[:, None]
        low, high = np.minimum(s[:, :3], s[:, 4:7]) - widest, np.maximum(s[:, :3], s[:, 4:7]) + widest
        return Shape(lambda p: self._sdf(p, low, high), low.min(0), high.max(0))

    def _sdf(self, p: Points, low: Array, high: Array) -> Array:
        out = np.full(p.x.shape, FAR, np.float32)
        margin = 8.0  # mm: extent of the field beyond the surface, for growing and for the warp of the grid
        near = np.flatnonzero((low[:, 2] - margin < p.z) & (p.z < high[:, 2] + margin))
        if not near.size or not out.size:
            return out
        columns, rows = p.x.mean(0), p.y.mean(1)
        for k in near:
            x0, x1 = np.searchsorted(columns, (low[k, 0] - margin, high[k, 0] + margin))
            y0, y1 = np.searchsorted(rows, (low[k, 1] - margin, high[k, 1] + margin))
            if x0 == x1 or y0 == y1:
                continue
            ax, ay, az, ar, bx, by, bz, br = self.segments[k]
            dx, dy, dz = bx - ax, by - ay, bz - az
            px, py, pz = p.x[y0:y1, x0:x1] - ax, p.y[y0:y1, x0:x1] - ay, np.float32(p.z) - az
            t = np.clip((px * dx + py * dy + pz * dz) / max(dx * dx + dy * dy + dz * dz, 1e-6), 0, 1)
            distance = np.sqrt((px - t * dx) ** 2 + (py - t * dy) ** 2 + (pz - t * dz) ** 2) - (ar + t * (br - ar))
            window = out[y0:y1, x0:x1]
            np.minimum(window, distance, out=window)
        return out


class Plane:
    """A horizontal layer, `depth` mm thick, to paint on: HU and labels (h, w); in mm of the reference body."""

    def __init__(self, x: Array, y: Array, z: float, depth: float, noises: dict[str, Noise], warp_mm: float) -> None:
        self.depth = depth
        self.grid_x, self.grid_y, self.z = x, y, z
        self.noises, self.cache = noises, dict[str, Array]()
        self.pixel = float(x[1] - x[0])
        self.margin = 3 * warp_mm + self.pixel
        self.x = (x[None, :] + warp_mm * self.field("warp x")).astype(np.float32)
        self.y = (y[:, None] + warp_mm * self.field("warp y")).astype(np.float32)
        self.hu = np.full(self.x.shape, -1000, np.float32)
        self.labels = np.zeros(self.x.shape, np.uint8)

    def field(self, name: str) -> Array:
        if name not in self.cache:
            self.cache[name] = self.noises[name].plane(self.grid_x, self.grid_y, self.z)
        return self.cache[name]

    def paint(self, shape: Shape, hu: float | Callable[[Points], Array], label: int, softness: float = 0.0) -> None:
        """Paint the shape over existing content; its edge is one voxel wide across the surface, or `softness` mm."""
        if not shape.low[2] - self.depth / 2 <= self.z <= shape.high[2] + self.depth / 2:
            return
        columns = slice(*np.searchsorted(self.grid_x, (shape.low[0] - self.margin, shape.high[0] + self.margin)))
        rows = slice(*np.searchsorted(self.grid_y, (shape.low[1] - self.margin, shape.high[1] + self.margin)))
        if columns.start >= columns.stop or rows.start >= rows.stop:
            return
        window = (rows, columns)
        points = Points(self.x[window], self.y[window], self.z, lambda name: self.field(name)[window])
        distance = shape.sdf(points)
        steep = np.zeros_like(distance)  # inclination of the surface: 1 vertical, 0 horizontal
        steep[:, 1:-1] = (distance[:, 2:] - distance[:, :-2]) ** 2
        steep[1:-1] += (distance[2:] - distance[:-2]) ** 2
        steep = np.minimum(np.sqrt(steep) / (2 * self.pixel), 1)
        width = self.pixel * steep + self.depth * np.sqrt(1 - steep * steep)
        cover = np.clip(0.5 - distance / np.maximum(width, softness), 0, 1)
        value = hu(points) if callable(hu) else np.float32(hu)
        target = self.hu[window]
        target += cover * (value - target)
        self.labels[window][cover > 0.5] = label
