"""Draws the extension's icon: a chest in cross-section, noisy on the left and denoised on the right, with attention on
the lung.

python Testing/screenshots/draw_icon.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np

ICON = Path(__file__).resolve().parents[2] / "BioAttDenoise" / "Resources" / "Icons" / "BioAttDenoise.png"
SIZE, OVERSAMPLING = 128, 8
BLUE, GLOW = np.array([0.09, 0.20, 0.34]), np.array([1.0, 0.62, 0.15])


def ellipse(x: np.ndarray, y: np.ndarray, cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
    return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1


def draw() -> np.ndarray:
    """RGBA image (SIZE, SIZE, 4), 0 … 1."""
    n = SIZE * OVERSAMPLING
    y, x = (np.mgrid[0:n, 0:n] + 0.5) / n * 2 - 1
    grey = np.zeros((n, n))
    body = ellipse(x, y, 0, 0.04, 0.86, 0.66)
    grey[body] = 0.55
    grey[ellipse(x, y, 0, 0.04, 0.80, 0.60)] = 0.75
    lungs = ellipse(x, y, -0.40, 0.0, 0.28, 0.42) | ellipse(x, y, 0.40, 0.0, 0.28, 0.42)
    grey[lungs] = 0.12
    grey[ellipse(x, y, 0.07, 0.0, 0.20, 0.25)] = 0.86
    grey[ellipse(x, y, 0.0, 0.44, 0.13, 0.13)] = 1.0
    noise = (
        np.random.default_rng(3)
        .normal(0, 0.11, (SIZE // 3 + 1, SIZE // 3 + 1))
        .repeat(3 * OVERSAMPLING, 0)
        .repeat(3 * OVERSAMPLING, 1)
    )
    grey = np.clip(grey + noise[:n, :n] * (x < 0) * body, 0, 1)
    colour = grey[..., None] * np.ones(3)
    glow = np.exp(-(((x - 0.40) / 0.24) ** 4 + (y / 0.36) ** 4))[..., None] * 0.95
    colour = np.where((x > 0.01)[..., None] & body[..., None], colour * (1 - glow) + GLOW * glow, colour)
    colour[(np.abs(x) < 0.012) & body] = 1.0
    rounded = (np.maximum(np.abs(x) - 0.72, 0) ** 2 + np.maximum(np.abs(y) - 0.72, 0) ** 2) < 0.26**2
    image = np.zeros((n, n, 4))
    image[..., :3] = np.where(body[..., None], colour, BLUE)
    image[..., 3] = rounded
    image[..., :3] *= image[..., 3:]
    small = image.reshape(SIZE, OVERSAMPLING, SIZE, OVERSAMPLING, 4).mean((1, 3))
    small[..., :3] /= np.maximum(small[..., 3:], 1e-6)
    return small.clip(0, 1)


if __name__ == "__main__":
    matplotlib.image.imsave(ICON, draw())
