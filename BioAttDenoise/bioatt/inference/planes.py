"""What a network sees of a slice: its HU, and some its neighbours, how near they are, and the noise level."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from bioatt.core.hu import CLIP_HU, OFFSET_HU, SCALE_HU
from bioatt.inference import tiling
from bioatt.inference.context import Context
from bioatt.network import BioAttNetwork
from bioatt.network.slab_unet import NOISE_UNIT_HU, nearness

REACH_MM = 4.0
"""Neighbours farther away are not shown."""
_TOLERANCE_MM = 1e-3


def clipped(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """HU within the range that networks see."""
    return np.clip(hu, *CLIP_HU)


class Planes:
    """The planes of each slice of a context's box, as `BioAttNetwork.forward` takes them, padded by `tiling.pad`.

    Of the network's neighbours half are below and half above; at the ends of the volume, beyond REACH_MM, and in a
    volume whose slices are missing or unevenly spaced there are none.
    """

    def __init__(self, context: Context, network: BioAttNetwork) -> None:
        self.context, self.network = context, network
        side = network.neighbours // 2
        self._offsets = [*range(-side, 0), *range(1, side + 1)]
        self._shown: dict[int, NDArray[np.float32]] = {}

    def __call__(self, k: int, noise_hu: float = math.nan) -> NDArray[np.float32]:
        """(C, H, W) of slice k. noise_hu: its noise level, NaN where it is not known."""
        neighbours = self.network.neighbours
        self._shown = {place: image for place, image in self._shown.items() if place >= k - neighbours // 2}
        image = self._standardised(k, self.context.hu[k])
        if not neighbours:
            return image[None]
        seen = np.zeros((2 + 2 * neighbours, *image.shape), np.float32)
        seen[0], seen[1 + neighbours] = image, np.nan_to_num(noise_hu) / NOISE_UNIT_HU
        for column, offset in enumerate(self._offsets):
            distance_mm = abs(offset) * self.context.step_mm
            neighbour = self.context.neighbour(k, offset) if distance_mm <= REACH_MM + _TOLERANCE_MM else None
            if neighbour is not None:
                seen[1 + column] = self._standardised(k + offset, neighbour)
                seen[2 + neighbours + column] = float(nearness(torch.tensor(distance_mm)))
        return seen

    def _standardised(self, place: int, hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """HU (y, x) of the slice at this place standardised and padded, once for all slices that show it."""
        if place not in self._shown:
            self._shown[place] = tiling.pad((clipped(hu) - OFFSET_HU) / SCALE_HU, self.network)
        return self._shown[place]
