"""Bodies wider than the image: the missing part also attenuates, so the projections need it."""

from __future__ import annotations

import numpy as np

BODY_HU = -400.0
LEAST_MM, INWARDS_MM, MOST_GROWTH = 25.0, 6.0, 1.25


def complete_body(hu: np.ndarray, pixel_mm: float, field_mm: float) -> np.ndarray:
    """hu (z, y, x) on a wider grid with the same centre, with water continuing the body where the image truncates it.

    The body counts as truncated if it covers more than 25 mm of the image's border and is hardly wider 6 mm further in
    (in an image cropped to the body, it widens fast). It is continued by half an ellipse whose depth is a quarter of
    that stretch, within the field. Other volumes are returned unchanged.
    """
    room = max(int((field_mm / pixel_mm - min(hu.shape[1:])) / 2), 0)
    cuts = [
        (side, index, cut)
        for side in range(4)
        for index, plane in enumerate(np.rot90(hu, side, (1, 2)))
        for cut in _cuts(plane > BODY_HU, pixel_mm)
    ]
    if not cuts or not room:
        return hu
    pad = min(max(-(-(last - first) // 4) for _, _, (first, last) in cuts), room)
    out = np.pad(hu, ((0, 0), (pad, pad), (pad, pad)), constant_values=-1000.0)
    for side, index, (first, last) in cuts:
        half = (last - first) / 2
        offset = (np.arange(first, last) + 0.5 - first - half) / half
        depth = np.minimum(half / 2 * np.sqrt(1 - offset**2), pad)
        outside = np.rot90(out, side, (1, 2))[index, :pad, first + pad : last + pad]
        outside[np.arange(pad, 0, -1)[:, None] <= depth] = 0.0
    return out


def _cuts(body: np.ndarray, pixel_mm: float) -> list[tuple[int, int]]:
    """Stretches (first, last + 1) of the first row of a mask (y, x) where the image truncates the body."""
    inner = body[min(round(INWARDS_MM / pixel_mm), len(body) - 1)]
    cuts = []
    for first, last in _runs(body[0]):
        wider = [b - a for a, b in _runs(inner) if a < last and b > first]
        if (last - first) * pixel_mm > LEAST_MM and max(wider, default=0) <= MOST_GROWTH * (last - first):
            cuts.append((first, last))
    return cuts


def _runs(line: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], line, [False]]))).reshape(-1, 2)
    return [(int(first), int(last)) for first, last in edges]
