"""Views of attention maps: raw, contribution of an organ to A', and contrast between organs. Needs no torch.

Maps are uint8 arrays of any shape, A = stored · SCALE (`bioatt.inference.attention`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bioatt.core.errors import InputError

SCALE = 1 / 255
"""Maps are stored as uint8: A = stored · SCALE. Neither VTK nor SimpleITK has float16."""
VIEWS = ("raw", "contrast", "contribution")

Stored = NDArray[np.uint8]
Array = NDArray[np.float32]


def raw(stored: Stored) -> Array:
    """A, 0 to 1."""
    return stored * np.float32(SCALE)


def contribution(stored: Stored, p: NDArray[np.floating] | float) -> Array:
    """pₙAₙ, the organ's term of A' = Σ pₙAₙ; p is a scalar or broadcasts against the map."""
    return raw(stored) * np.asarray(p, np.float32)


def contrast(stored: Mapping[str, Stored], name: str) -> Array:
    """Deviation of an organ's map from the mean over organs: (Aₙ − mean) / scale, −1 to 1, float32.

    The scale is the 99.5th percentile of |A − mean| over all organs, so that the views of one stage are comparable.
    Voxels at which every map is 0 (outside the body) are excluded.
    Raises InputError for an unknown name or if there is only one map.
    """
    if name not in stored or len(stored) < 2:
        raise InputError(f"the contrast over organs needs the map of {name!r} and of at least one other organ")
    mean = np.zeros(stored[name].shape, np.float32)
    for a in stored.values():
        mean += a / np.float32(len(stored))
    inside = mean > 0
    if not inside.any():
        return np.zeros(mean.shape, np.float32)
    step = max(int(inside.sum()) // 200_000, 1)  # a sample is enough for a percentile
    centre = mean[inside][::step]
    deviations = [np.abs(a[inside][::step] - centre) for a in stored.values()]
    scale = float(np.percentile(np.concatenate(deviations), 99.5))
    if scale == 0:
        return np.zeros(mean.shape, np.float32)
    view: Array = np.clip((stored[name] - mean) / np.float32(scale), -1, 1) * inside
    return view.astype(np.float32, copy=False)
