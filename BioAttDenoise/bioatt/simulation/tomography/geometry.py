"""Scan geometries in the plane of rotation. Lengths in mm, angles in radians.

At view angle β the detector axis is e_s = (cos β, sin β) and the central ray runs along e_l = (−sin β, cos β), with x
to the right and y down the image. A fan's source is at −source_mm · e_l; the isocentre is the origin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from bioatt.core.errors import InputError


class Beam(IntEnum):
    """Shape of beam and detector; the compiled loops branch on these numbers."""

    PARALLEL = 0
    FLAT = 1
    ARC = 2


@dataclass(frozen=True)
class Geometry:
    """Views evenly spaced over one turn (fan) or half a turn (parallel), and cells evenly spaced on the detector.

    cell_mm is the pitch on the detector (along the arc for ARC); for PARALLEL it is the distance between rays.
    offset_cells shifts the detector sideways; a quarter cell interleaves opposite views of a full turn.
    """

    beam: Beam = Beam.ARC
    cells: int = 736
    views: int = 1152
    cell_mm: float = 1.2858
    source_mm: float = 595.0
    detector_mm: float = 1085.6
    offset_cells: float = 0.25

    def __post_init__(self) -> None:
        if self.cells < 2 or self.views < 2 or self.cell_mm <= 0:
            raise InputError("a scan geometry needs at least 2 cells, 2 views and a positive cell pitch")
        if self.beam != Beam.PARALLEL:
            if not 0 < self.source_mm < self.detector_mm:
                raise InputError("source_mm must be positive and smaller than detector_mm")
            if self.fan_half_angle > math.radians(40):
                raise InputError(
                    "the fan is wider than 80 degrees: use fewer or narrower cells, or a greater detector_mm"
                )

    @classmethod
    def parallel(cls, cells: int = 736, views: int = 576, cell_mm: float = 0.7) -> Geometry:
        """Parallel rays over half a turn."""
        return cls(Beam.PARALLEL, cells, views, cell_mm, offset_cells=0.0)

    @classmethod
    def flat(cls, cells: int = 736, views: int = 1152, cell_mm: float = 1.36) -> Geometry:
        """Fan beam with a flat detector."""
        return cls(Beam.FLAT, cells, views, cell_mm)

    def coarser(self, cells: int = 1, views: int = 1) -> Geometry:
        """The same fan with every `cells` cells and `views` views merged: the low-cost geometry for training."""
        return replace(
            self,
            cells=-(-self.cells // cells),
            views=-(-self.views // views),
            cell_mm=self.cell_mm * cells,
            offset_cells=self.offset_cells / cells,
        )

    @property
    def angles(self) -> np.ndarray:
        """View angles β (views,) in radians."""
        turn = math.pi if self.beam == Beam.PARALLEL else 2 * math.pi
        return np.arange(self.views) * (turn / self.views)

    @property
    def positions(self) -> np.ndarray:
        """Fan angle γ (cells,) in radians (ARC), else distance s from the central ray at the isocentre in mm."""
        return (np.arange(self.cells) - (self.cells - 1) / 2 + self.offset_cells) * self.step

    @property
    def step(self) -> float:
        """Distance between cells in the unit of `positions`."""
        if self.beam == Beam.PARALLEL:
            return self.cell_mm
        if self.beam == Beam.FLAT:
            return self.cell_mm * self.source_mm / self.detector_mm
        return self.cell_mm / self.detector_mm

    @property
    def pitch_mm(self) -> float:
        """Distance between neighbouring rays at the isocentre in mm."""
        return self.step * self.source_mm if self.beam == Beam.ARC else self.step

    @property
    def fan_half_angle(self) -> float:
        """Half the opening angle of the fan in radians (0 for parallel rays)."""
        if self.beam == Beam.PARALLEL:
            return 0.0
        half = self.cells / 2 * self.cell_mm / self.detector_mm
        return half if self.beam == Beam.ARC else math.atan(half)

    @property
    def field_mm(self) -> float:
        """Diameter of the field of view, the circle that every view covers."""
        if self.beam == Beam.PARALLEL:
            return self.cells * self.cell_mm
        return 2 * self.source_mm * math.sin(self.fan_half_angle)

    def rays(self) -> tuple[np.ndarray, np.ndarray]:
        """Each cell's ray at β = 0: a point on it and its unit direction, (cells, 2) in mm as (s, l) components."""
        u = self.positions
        zero, one = np.zeros_like(u), np.ones_like(u)
        if self.beam == Beam.PARALLEL:
            return np.stack([u, zero], 1), np.stack([zero, one], 1)
        tangent = np.tan(u) if self.beam == Beam.ARC else u / self.source_mm
        direction = np.stack([tangent, one], 1) / np.sqrt(1 + tangent**2)[:, None]
        return np.stack([zero, np.full_like(u, -self.source_mm)], 1), direction
