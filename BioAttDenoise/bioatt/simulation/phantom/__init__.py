"""Procedural torso in HU with organ labels: chest and abdomen of a random patient, without any patient data.

Seeds below TRAINING_SEEDS_FROM are for demonstrations and tests; training uses seeds from there on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bioatt.core.errors import InputError
from bioatt.core.volume import Acquisition, Volume
from bioatt.simulation.phantom import abdomen, chest
from bioatt.simulation.phantom.abdomen import flesh
from bioatt.simulation.phantom.body import PHASES, Body
from bioatt.simulation.phantom.muscles import fat_between_muscles, muscle
from bioatt.simulation.phantom.paint import LABELS, Paint
from bioatt.simulation.phantom.shapes import Noise, Plane, Points, everywhere
from bioatt.simulation.phantom.skeleton import skeleton

__all__ = ["LABELS", "PHASES", "TRAINING_SEEDS_FROM", "torso"]

TRAINING_SEEDS_FROM = 1000


def torso(
    seed: int,
    slices: int = 32,
    size: int = 512,
    *,
    z_range: tuple[float, float] = (-165.0, 125.0),
    pixel_mm: float | None = None,
    thickness_mm: float = 5.0,
    phase: str | None = None,
) -> tuple[Volume, np.ndarray]:
    """Random torso: noise-free HU (slices, size, size) float32 and labels uint8 (values of `LABELS`), axial, head last.

    `z_range`: range of the slices in mm of the reference body (0 = top of the right diaphragm; −250 iliac crests, 190
    lung apices). `pixel_mm`: by default the body just fits in the image. `thickness_mm`: each slice averages three
    planes over it. `phase`: one of `PHASES`, random by default. The same arguments give the same voxels.
    """
    if slices < 1 or size < 16:
        raise InputError(f"a phantom needs at least 1 slice of 16 x 16 pixels, not {slices} of {size} x {size}")
    if phase is not None and phase not in PHASES:
        raise InputError(f"unknown contrast phase {phase!r}: choose one of {', '.join(PHASES)}")
    rng = np.random.default_rng([seed, 0x70726F])
    scale = rng.normal((1.0, 1.0, 1.0), (0.05, 0.05, 0.04)) * rng.uniform(0.93, 1.1)
    body = Body.draw(rng, phase)
    noises = {name: Noise(rng, cell) for name, cell in _CELLS.items()}
    paints = list(_layers(body))
    if pixel_mm is None:
        pixel_mm = round(float(scale[0]) * (2 * (160 + 1.4 * body.fat_mm) + 16) / size, 4)
    axis = (np.arange(size) - (size - 1) / 2) * pixel_mm
    step = (z_range[1] - z_range[0]) * float(scale[2]) / slices

    def paint(index: int) -> tuple[np.ndarray, np.ndarray]:
        planes = []
        for part in (-1 / 3, 1 / 3, 0):
            z = z_range[0] + ((index + 0.5) * step + part * thickness_mm) / scale[2]
            plane = Plane(axis / scale[0], axis / scale[1], z, thickness_mm / 3 / scale[2], noises, warp_mm=2.2)
            for layer in paints:
                plane.paint(layer.shape, layer.hu, LABELS[layer.label], layer.softness)
            planes.append(plane)
        return np.mean([plane.hu for plane in planes], axis=0), planes[-1].labels

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        painted = list(pool.map(paint, range(slices)))
    volume = Volume(
        hu=np.stack([hu for hu, _ in painted]).astype(np.float32),
        spacing=(pixel_mm, pixel_mm, round(step, 4)),
        origin=(float(axis[0]), float(axis[0]), 0.0),
        direction=np.eye(3),
        slice_ids=tuple(f"phantom-{seed}-{k}" for k in range(slices)),
        acquisition=Acquisition(kernel=None, slice_thickness_mm=thickness_mm, kvp=None, modality="CT"),
        sources=(),
    )
    return volume, np.stack([labels for _, labels in painted])


# Noise fields by name: cell size of the random lattice in mm (features are about 2.5 cells wide).
_CELLS = {"fine": 1.1, "middle": 4.0, "coarse": 11.0, "vast": 35.0, "warp x": 30.0, "warp y": 32.0}


def _layers(body: Body) -> Iterator[Paint]:
    """Yield everything to paint, in order."""
    wall, skin, cavity = body.wall(), body.skin(), body.cavity()

    def fat(p: Points) -> np.ndarray:
        septa = np.exp(-((p.fields("coarse") / 0.06) ** 2)) * np.clip(p.fields("middle"), 0, 1)
        return -106 + 2.5 * p.fields("middle") + 45 * septa

    yield Paint(skin, 10, "skin and fat")
    yield Paint(skin.grow(-1.8), fat, "skin and fat")
    yield Paint(wall, muscle(body), "muscle")
    yield from fat_between_muscles(body)
    yield Paint(cavity, fat, "skin and fat")
    above = body.above_diaphragm()
    yield Paint(cavity.grow(-0.5) & everywhere(lambda p: np.abs(above.sdf(p) - 1.2) - 1.2), flesh(56), "muscle")
    yield from abdomen.muscles(body)
    room = abdomen.below_diaphragm(body, above, 3.0)
    yield from chest.lungs(body)
    yield from chest.veins(body)
    yield from chest.heart(body)
    yield from chest.great_vessels(body)
    yield from skeleton(body)
    yield from abdomen.bowel(body)
    yield from abdomen.great_vessels(body)
    yield from abdomen.kidneys(body)
    yield from abdomen.pancreas(body)
    yield from abdomen.stomach(body, room)
    yield from abdomen.spleen(body, room)
    yield from abdomen.liver(body, room)
