"""A water cylinder with discs of known contrast: ground truth for TTF and HU of small objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bioatt.core.volume import Acquisition, Volume


@dataclass(frozen=True)
class Insert:
    """A disc: contrast to the background in HU, centre in pixels, radius in mm."""

    contrast_hu: float
    centre_yx: tuple[float, float]
    radius_mm: float


def disc(shape: tuple[int, int], centre_yx: tuple[float, float], radius_px: float) -> np.ndarray:
    """Share of each pixel (y, x) inside a disc."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.clip(0.5 - (np.hypot(y - centre_yx[0], x - centre_yx[1]) - radius_px), 0, 1)


def cylinder_with_inserts(
    contrasts_hu: Sequence[float] = (-1000.0, -100.0, 50.0, 100.0, 300.0, 1000.0),
    *,
    background_hu: float = 40.0,
    slices: int = 16,
    size: int = 512,
    pixel_mm: float = 0.7,
    diameter_mm: float = 280.0,
    insert_mm: float = 30.0,
) -> tuple[Volume, list[Insert]]:
    """Noise-free HU (slices, size, size) float32 with identical slices, and the inserts, on a ring halfway to the rim.

    Edges have partial volume. Centres lie off the grid, so that edges are sampled at every sub-pixel phase.
    """
    middle = (size - 1) / 2
    shape = (size, size)
    hu = -1000 + (background_hu + 1000) * disc(shape, (middle, middle), diameter_mm / 2 / pixel_mm)
    inserts = []
    for k, contrast in enumerate(contrasts_hu):
        angle = 2 * np.pi * (k + 0.25) / len(contrasts_hu)
        reach = 0.29 * diameter_mm / pixel_mm
        insert = Insert(
            contrast,
            (float(middle + 0.31 + reach * np.sin(angle)), float(middle + 0.17 + reach * np.cos(angle))),
            insert_mm / 2,
        )
        hu += contrast * disc(shape, insert.centre_yx, insert.radius_mm / pixel_mm)
        inserts.append(insert)
    volume = Volume(
        hu=np.repeat(hu[None].astype(np.float32), slices, 0),
        spacing=(pixel_mm, pixel_mm, 5.0),
        slice_ids=tuple(f"inserts-{k}" for k in range(slices)),
        acquisition=Acquisition(slice_thickness_mm=5.0, modality="CT"),
    )
    return volume, inserts
