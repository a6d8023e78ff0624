"""Frame of the torso: outer walls, cavity, diaphragm and mediastinum as functions of height, and the HU of tissues.

Reference body in mm: x to the patient's left, y to the back, z to the head; z = 0 at the top of the right diaphragm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bioatt.simulation.phantom.shapes import Array, Points, Shape, ellipsoid, everywhere

HEIGHTS = np.array([-260, -220, -160, -100, -40, 20, 80, 130, 180, 220])
HALF_WIDTH = np.array([152, 150, 145, 147, 152, 156, 157, 154, 138, 120])
FRONT = np.array([86, 90, 94, 99, 103, 102, 97, 88, 74, 60])
BACK = np.array([98, 99, 97, 97, 99, 104, 108, 108, 102, 92])

# Mean HU by contrast phase: unenhanced, arterial, portal venous (typical values at 120 kVp).
PHASES = {
    "unenhanced": {"liver": 58, "spleen": 48, "kidney": 33, "medulla": 31, "blood": 42, "aorta": 43, "portal": 41,
                   "myocardium": 46, "pancreas": 42, "muscle": 56},
    "arterial": {"liver": 72, "spleen": 115, "kidney": 185, "medulla": 70, "blood": 180, "aorta": 310, "portal": 95,
                 "myocardium": 105, "pancreas": 95, "muscle": 60},
    "portal": {"liver": 108, "spleen": 122, "kidney": 190, "medulla": 165, "blood": 150, "aorta": 152, "portal": 168,
               "myocardium": 112, "pancreas": 92, "muscle": 62},
}  # fmt: skip


def at_height(z: float | Array, values: Array) -> Array:
    return np.asarray(np.interp(z, HEIGHTS, values), np.float32)


@dataclass
class Body:
    """Random shape parameters of one patient, shared by all organs."""

    rng: np.random.Generator
    fat_mm: float
    hu: dict[str, float]

    @staticmethod
    def draw(rng: np.random.Generator, phase: str | None) -> Body:
        phase = phase or str(rng.choice(list(PHASES), p=[0.3, 0.15, 0.55]))
        hu = {name: value * rng.normal(1, 0.06) for name, value in PHASES[phase].items()}
        return Body(rng, fat_mm=float(rng.uniform(7, 26)), hu=hu)

    def jitter(self, *centre: float, mm: float = 4.0) -> Array:
        """A position shifted randomly by about `mm`."""
        return np.asarray(centre, float) + self.rng.normal(0, mm / 2, len(centre))

    def wall(self) -> Shape:
        """Outer surface of the trunk's muscles and ribs."""

        def sdf(p: Points) -> Array:
            a = at_height(p.z, HALF_WIDTH)
            groove = 1 - 0.045 * np.exp(-((p.x / 16) ** 2))  # between the paraspinal muscles
            b = np.where(p.y < 0, at_height(p.z, FRONT), at_height(p.z, BACK) * groove)
            u, v = np.abs(p.x) / a, np.abs(p.y) / b
            level = (u**2.35 + v**2.35) ** (1 / 2.35)
            return (level - 1) * level / np.maximum(np.sqrt((u / a) ** 2 + (v / b) ** 2), 1e-3)

        return everywhere(sdf)

    def skin(self) -> Shape:
        wall = self.wall()

        def sdf(p: Points) -> Array:
            belly = 1 / (1 + np.exp((np.asarray(p.z, np.float32) + 60) / 35))
            around = 0.75 + 0.35 * np.clip(p.y / 80, -0.3, 1) + 0.25 * belly + 0.15 * p.fields("vast")
            return wall.sdf(p) - 2 - self.fat_mm * around

        return everywhere(sdf)

    def wall_thickness(self, p: Points) -> Array:
        """Distance from the outer muscle surface to the pleura or peritoneum, mm."""
        chest = 1 / (1 + np.exp(-(np.asarray(p.z, np.float32) + 30) / 18))
        side = np.clip(np.abs(p.x) / 130, 0, 1) ** 2
        front = np.clip(-p.y / 90, 0, 1)
        back = np.clip(p.y / 95, 0, 1) ** 2
        return chest * (15 + 4 * side + 6 * back) + (1 - chest) * (11 + 9 * side - 2 * front + 22 * back)

    def cavity(self) -> Shape:
        """Interior of the chest and abdominal wall."""
        wall = self.wall()
        return everywhere(lambda p: wall.sdf(p) + self.wall_thickness(p))

    def above_diaphragm(self) -> Shape:
        """Everything cranial to the diaphragm: two domes and the central tendon, sloping to the recesses."""
        domes = [
            (-72, -8, self.rng.normal(0, 3), 84, 98),
            (70, -2, self.rng.normal(-13, 4), 84, 98),
            (12, -30, -17.0, 60, 60),
        ]

        def sdf(p: Points) -> Array:
            height = np.full(np.shape(p.x), -1e3, np.float32)
            for x, y, top, rx, ry in domes:
                rho2 = ((p.x - x) / rx) ** 2 + ((p.y - y) / ry) ** 2
                dome = top - 20 * rho2 - 62 * rho2**2.5 - 34 * np.clip(p.y / 90, 0, 2) ** 2
                height = np.maximum(height, dome)
            return np.asarray((height - p.z) / 1.35, np.float32)

        return everywhere(sdf)

    def spine_y(self, z: float | Array) -> Array:
        """Depth of the vertebral bodies' centres: lordosis below, kyphosis above."""
        return np.asarray(np.interp(z, [-230, -160, -90, 0, 80, 160], [36, 31, 38, 52, 62, 60]), np.float32)

    def mediastinum(self) -> Shape:
        """Mediastinum without the great vessels."""

        def column(p: Points) -> Array:
            high = np.clip((np.asarray(p.z, np.float32) - 20) / 60, 0, 1)
            back = np.hypot(p.x / (30 - 2 * high), (p.y - 24) / 46) - 1
            front = np.hypot(p.x / (16 + 6 * high), (p.y + 42) / (62 - 8 * high)) - 1
            return np.minimum(back * 28, front * 16).astype(np.float32)

        spine = everywhere(lambda p: (np.hypot(p.x / 1.15, p.y - self.spine_y(p.z) - 4) - 21).astype(np.float32))
        heart = ellipsoid((16, -27, 40), (66, 51, 50), (0.78, -0.55, -0.3))
        return everywhere(column).blend(spine, 8).blend(heart, 12)
