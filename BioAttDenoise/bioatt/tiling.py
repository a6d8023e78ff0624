"""Run a network with a finite receptive field on part of a slice, whole or in tiles, with the same result.

A slice is reflect-padded by the receptive-field radius `HALO`. What the network gives for a box of the slice, from the
box with its halo, then equals what it gives for the whole padded slice: tiles leave no seam.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bioatt.network import CROP, HALO, BioAttNetwork, Stage


@dataclass(frozen=True)
class Box:
    """Rows y0…y1 and columns x0…x1 (end excluded) of a slice."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the box in a (y, x) array."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def with_halo(self) -> tuple[slice, slice]:
        """Index of the box and its halo in the padded slice."""
        return slice(self.y0, self.y1 + 2 * HALO), slice(self.x0, self.x1 + 2 * HALO)

    def tiles(self, size: int | None) -> Iterator[Box]:
        """Boxes of at most size × size that cover this one; itself where size is None."""
        if size is None:
            yield self
            return
        for y in range(self.y0, self.y1, size):
            for x in range(self.x0, self.x1, size):
                yield Box(y, min(y + size, self.y1), x, min(x + size, self.x1))


def bounding_box(weight: NDArray[np.float32]) -> Box | None:
    """Smallest box that holds every pixel of positive weight; None where there is none."""
    rows, columns = np.flatnonzero(weight.any(axis=1)), np.flatnonzero(weight.any(axis=0))
    if not rows.size:
        return None
    return Box(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)


def pad(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reflect the last two axes by HALO pixels; images narrower than the halo are reflected more than once."""
    return np.pad(image, [(0, 0)] * (image.ndim - 2) + [(HALO, HALO)] * 2, mode="reflect")


def run(
    network: BioAttNetwork,
    padded: Tensor,
    p: Tensor | None,
    box: Box,
    *,
    tile: int | None = None,
    record: dict[Stage, Tensor] | None = None,
) -> Tensor:
    """Network output on `box`, of shape (box height, box width).

    padded: the slice after `pad`, (H + 2·HALO, W + 2·HALO), standardised. p: (N,), or (N, H + 2·HALO, W + 2·HALO).
    tile: side of the tiles in pixels, None for the box at once (networks that pool globally are never tiled).
    record: filled with the stage's attention maps on the box, (N, box height, box width).
    """
    output = padded.new_empty(
        (box.y1 - box.y0, box.x1 - box.x0), dtype=torch.promote_types(padded.dtype, torch.float32)
    )
    for part in box.tiles(tile if network.tileable else None):
        rows, columns = part.with_halo
        p_part = None if p is None else p[None] if p.ndim == 1 else p[None, :, rows, columns]
        maps: dict[Stage, list[Tensor]] | None = None if record is None else {}
        result = network(padded[None, None, rows, columns], p_part, maps)[0, 0, HALO:-HALO, HALO:-HALO]
        target = (slice(part.y0 - box.y0, part.y1 - box.y0), slice(part.x0 - box.x0, part.x1 - box.x0))
        output[target] = result.to(output.dtype)
        for stage, (stage_maps,) in (maps or {}).items():
            inner = slice(HALO - CROP[stage], CROP[stage] - HALO)
            assert record is not None
            if stage not in record:
                record[stage] = output.new_empty((stage_maps.shape[1], *output.shape))
            record[stage][(slice(None), *target)] = stage_maps[0, :, inner, inner].to(output.dtype)
    return output
