"""Makes the module's sample scan and its thumbnail: neighbouring slices of a simulated torso at a quarter of the dose.
Rows outside the body are cropped to keep the file small.

python Testing/screenshots/make_sample.py [FOLDER]
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from bioatt.core.volume import Volume
from bioatt.io.images import write_volume
from bioatt.simulation.acquisition import Scanner, scan
from bioatt.simulation.phantom import torso

FOLDER = Path(__file__).resolve().parents[2] / "BioAttDenoise" / "Resources" / "SampleData"
SEED, DOSE, KERNEL = 12, 0.25, "B30"
SLICES, SIZE, FEET_MM, STEP_MM = 4, 384, -40.0, 5.0
"""Slices through the liver, the stomach, the heart and the lung bases; 384 pixels cover the body at a pixel size that
scanners use.
"""
MARGIN, BODY_HU = 12, -300.0
WINDOW, LEVEL, THUMBNAIL = 350, 50, (160, 110)


def sample() -> Volume:
    """The scan, cropped to the body's rows."""
    head = FEET_MM + SLICES * STEP_MM
    body, _labels = torso(SEED, SLICES, SIZE, z_range=(FEET_MM, head), thickness_mm=STEP_MM, phase="portal")
    _reference, (low,) = scan(body, (DOSE,), scanner=Scanner(kernel=KERNEL), seed=SEED)
    rows = np.flatnonzero((body.hu > BODY_HU).any((0, 2)))
    first, last = max(rows[0] - MARGIN, 0), rows[-1] + MARGIN + 1
    x, y, z = low.origin
    return replace(low, hu=low.hu[:, first:last].copy(), origin=(x, y + first * low.spacing[1], z))


def thumbnail(hu: np.ndarray) -> Image.Image:
    """A slice (y, x) in the soft-tissue window."""
    grey = np.clip((hu - LEVEL) / WINDOW + 0.5, 0, 1) * 255
    return ImageOps.fit(Image.fromarray(np.rint(grey).astype(np.uint8)), THUMBNAIL, Image.Resampling.LANCZOS)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    made = sample()
    write_volume(made, folder / "QuarterDoseTorso.nrrd")
    thumbnail(made.hu[SLICES // 2]).save(folder / "QuarterDoseTorso.png", optimize=True)
    print(made.hu.shape, made.spacing, (folder / "QuarterDoseTorso.nrrd").stat().st_size, "bytes")
