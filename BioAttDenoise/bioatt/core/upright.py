"""The sheared slices of a tilted gantry, resampled to right angles, for formats that cannot hold the shear."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bioatt.core.hu import AIR_HU, cast
from bioatt.core.volume import Volume


def upright(volume: Volume) -> Volume:
    """The volume with its third axis along the slices' normal: each slice moved in its own plane, linearly between
    pixels; what lies outside the scan is air (-1000 HU), padding is taken for air.

    Spacing along the third axis becomes the distance of the slices' planes. A volume of right angles comes back as it
    is. Noise is smoothed where a slice moves by part of a pixel: denoise first.
    """
    if volume.right_angled:
        return volume
    from scipy.ndimage import shift

    i, j = volume.direction[:, 0], volume.direction[:, 1]
    normal = np.cross(i, j)
    normal /= np.linalg.norm(normal)
    step = volume.direction[:, 2] * volume.spacing[2]
    normal *= np.sign(normal @ step)
    plane = np.linalg.lstsq(np.column_stack([i, j]), step - (step @ normal) * normal, rcond=None)[0]
    column, row = plane / volume.spacing[:2]  # pixels by which each slice lies further
    mask = volume.padding_mask
    ends = [np.array([column, row]) * k for k in (0, volume.shape[0] - 1)]
    first = np.floor(np.minimum(*ends)).astype(int)
    last = np.ceil(np.maximum(*ends)).astype(int)
    width, height = last - first
    out = np.full((volume.shape[0], volume.shape[1] + height, volume.shape[2] + width), AIR_HU, np.float32)
    for k, target in enumerate(out):
        target[: volume.shape[1], : volume.shape[2]] = np.where(mask[k], AIR_HU, volume.hu[k])
        offset = (k * row - first[1], k * column - first[0])
        target[...] = shift(target, offset, order=1, mode="constant", cval=AIR_HU)
    origin = volume.ijk_to_lps @ [*first, 0, 1]
    return replace(
        volume,
        hu=cast(out, volume.hu.dtype),
        spacing=(*volume.spacing[:2], float(step @ normal)),
        origin=tuple(origin[:3]),
        direction=np.column_stack([i, j, normal]),
        slice_ids=(),
        sources=volume.sources if len(volume.sources) == 1 else (),
        padding=(),
        rescale=(),
        warnings=tuple(line for line in volume.warnings if "gantry" not in line),
    )
