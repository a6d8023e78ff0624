"""Input planes of a network: the slice's HU and, for some, its neighbours, their nearness and the noise level."""

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
"""Neighbours farther away are omitted."""
_TOLERANCE_MM = 1e-3


def clipped(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Clip HU to the range passed to networks."""
    return np.clip(hu, *CLIP_HU)


class Planes:
    """Input planes of each slice of a context's box, as for `BioAttNetwork.forward`, padded by `tiling.pad`.

    Half of the network's neighbours are below the slice and half above. Neighbours beyond the ends of the volume or
    REACH_MM are missing, and all are if slices are missing or unevenly spaced.
    """

    def __init__(self, context: Context, network: BioAttNetwork) -> None:
        self.context, self.network = context, network
        side = network.neighbours // 2
        self._offsets = [*range(-side, 0), *range(1, side + 1)]
        self._shown: dict[int, NDArray[np.float32]] = {}

    def __call__(self, k: int, noise_hu: float = math.nan) -> NDArray[np.float32]:
        """(C, H, W) of slice k. noise_hu: its noise level, NaN if unknown."""
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
        """HU (y, x) of the slice at this position, standardised and padded once for all slices that use it."""
        if place not in self._shown:
            self._shown[place] = tiling.pad((clipped(hu) - OFFSET_HU) / SCALE_HU, self.network)
        return self._shown[place]
