"""Bodies wider than the image: the missing part attenuates too, so the projections need it."""

from __future__ import annotations

import numpy as np

BODY_HU = -400.0
FULL_RUN_MM = 25.0


def complete_body(hu: np.ndarray, pixel_mm: float, field_mm: float) -> np.ndarray:
    """hu (z, y, x) on a wider grid with the same centre, the body continued by water where the image cuts it off.

    A stretch of body longer than 25 mm along the image's border is taken as cut off (a body cropped to its outline
    touches the border in less) and continued by half an ellipse whose depth is a quarter of the stretch, within the
    field. The grid grows only for slices that need it; uncut volumes come back as they are.
    """
    height, width = hu.shape[1:]
    room = max(int((field_mm / pixel_mm - min(height, width)) / 2), 0)
    borders = ("top", hu[:, 0]), ("bottom", hu[:, -1]), ("left", hu[:, :, 0]), ("right", hu[:, :, -1])
    runs = [(side, z, run) for side, lines in borders for z in range(len(hu)) for run in _runs(lines[z], pixel_mm)]
    if not runs or not room:
        return hu
    pad = min(max(int(np.ceil((last - first) / 4)) for _, _, (first, last) in runs), room)
    out = np.pad(hu, ((0, 0), (pad, pad), (pad, pad)), constant_values=-1000.0)
    for side, z, (first, last) in runs:
        half = (last - first) / 2
        offset = (np.arange(first, last) + 0.5 - first - half) / half
        depth = np.minimum(half / 2 * np.sqrt(1 - offset**2), pad)
        fill = np.where(np.arange(pad)[:, None] < depth, 0.0, -1000.0)  # (outwards, along)
        along = slice(first + pad, last + pad)
        if side == "top":
            out[z, :pad, along] = np.maximum(out[z, :pad, along], fill[::-1])
        elif side == "bottom":
            out[z, height + pad :, along] = np.maximum(out[z, height + pad :, along], fill)
        elif side == "left":
            out[z, along, :pad] = np.maximum(out[z, along, :pad], fill[::-1].T)
        else:
            out[z, along, width + pad :] = np.maximum(out[z, along, width + pad :], fill.T)
    return out


def _runs(line: np.ndarray, pixel_mm: float) -> list[tuple[int, int]]:
    """Stretches (first, last + 1) of body along a border line longer than FULL_RUN_MM."""
    inside = np.concatenate([[False], line > BODY_HU, [False]])
    edges = np.flatnonzero(inside[1:] != inside[:-1]).reshape(-1, 2)
    return [(int(a), int(b)) for a, b in edges if (b - a) * pixel_mm > FULL_RUN_MM]
