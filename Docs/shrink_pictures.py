"""Makes the repository's pictures small: `python Docs/shrink_pictures.py` gives those above 300 kB an 8-bit palette.

A picture that is too large even so is made smaller in pixels. Look at the result before you commit it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("Docs/images", "Resources/Screenshots", "Training/results")
LARGEST = 300_000
"""Bytes; a test holds the pictures to it."""
COLOURS = (256, 128, 64)
STEP = 0.85


def large_pictures() -> list[Path]:
    """The pictures of the documentation that have too many bytes."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.png")]
    return sorted(path for path in found if path.stat().st_size > LARGEST)


def with_palette(picture: Image.Image, colours: int) -> Image.Image:
    """The picture in this many colours, without dithering; a grey one in this many even steps of grey."""
    pixels = np.asarray(picture, np.int16)
    if np.ptp(pixels, axis=2).max() <= 2:
        step = 255 / (colours - 1)
        return Image.fromarray(np.round(np.round(pixels[..., 1] / step) * step).astype(np.uint8))
    return picture.quantize(colours, method=Image.Quantize.MEDIANCUT, kmeans=3, dither=Image.Dither.NONE)


def shrink(path: Path) -> None:
    """Rewrite a picture with the most colours and pixels that fit into LARGEST."""
    original = picture = Image.open(path).convert("RGB")
    while path.stat().st_size > LARGEST:
        for colours in COLOURS:
            with_palette(picture, colours).save(path, optimize=True)
            if path.stat().st_size <= LARGEST:
                print(f"{path.relative_to(ROOT)}: {picture.size}, {colours} colours, {path.stat().st_size} bytes")
                return
        scale = STEP * picture.width / original.width
        size = (round(original.width * scale), round(original.height * scale))
        picture = original.resize(size, Image.Resampling.LANCZOS)


if __name__ == "__main__":
    for path in large_pictures():
        shrink(path)
