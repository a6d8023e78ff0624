"""Thumbnail of a scan before and after denoising, for reports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bioatt.core.canonical import canonical
from bioatt.core.metrics import WINDOWS
from bioatt.core.volume import Volume
from bioatt.io.comparison_figure import body_part

HEIGHT = 160
_QUALITY = 80


def write_preview(before: Volume, after: Volume, path: Path) -> None:
    """Write the middle slice of both, side by side in the soft-tissue window, as a WebP with HEIGHT rows."""
    from PIL import Image

    planes = [canonical(volume).volume.hu[volume.shape[0] // 2 if volume.axial else 0] for volume in (before, after)]
    part = body_part(planes[0])
    picture = Image.fromarray(np.hstack([_grey(plane[part]) for plane in planes]))
    width = max(1, round(picture.width * HEIGHT / picture.height))
    picture.resize((width, HEIGHT), Image.Resampling.BICUBIC).save(path, "WEBP", quality=_QUALITY)


def _grey(hu: NDArray) -> NDArray[np.uint8]:
    low, high = WINDOWS["soft tissue"]
    return np.rint(np.clip((hu - low) / (high - low), 0, 1) * 255).astype(np.uint8)
