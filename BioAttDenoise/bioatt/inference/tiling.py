"""Run a network with a finite receptive field on a box of a slice, whole or in tiles, with the same result.

The slice is reflected at its border. Each tile has a halo as wide as the receptive field, so its output equals that of
the whole padded slice and tiles leave no seam. For networks that downsample, tiles are aligned to their blocks of
pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bioatt.compute.backends import Forward

if TYPE_CHECKING:
    from bioatt.network import BioAttNetwork, Stage


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

    def grown(self, by: int) -> Box:
        """The box and `by` pixels on each side."""
        return Box(self.y0 - by, self.y1 + by, self.x0 - by, self.x1 + by)

    def moved(self, by: int) -> Box:
        """The box shifted by `by` rows and columns."""
        return Box(self.y0 + by, self.y1 + by, self.x0 + by, self.x1 + by)

    def clipped(self, shape: Sequence[int]) -> Box:
        """Intersection with an array whose last two axes have these lengths."""
        return Box(max(self.y0, 0), min(self.y1, shape[-2]), max(self.x0, 0), min(self.x1, shape[-1]))

    def aligned(self, block: int) -> Box:
        """The smallest enclosing box with edges at multiples of `block`."""
        return Box(
            self.y0 - self.y0 % block, self.y1 + -self.y1 % block, self.x0 - self.x0 % block, self.x1 + -self.x1 % block
        )

    def within(self, other: Box) -> tuple[slice, slice]:
        """Index of this box in an array that covers `other`, which contains it."""
        return slice(self.y0 - other.y0, self.y1 - other.y0), slice(self.x0 - other.x0, self.x1 - other.x0)

    def tiles(self, size: int | None) -> Iterator[Box]:
        """Boxes of at most size × size that cover this one; the box itself if size is None."""
        if size is None:
            yield self
            return
        for y in range(self.y0, self.y1, size):
            for x in range(self.x0, self.x1, size):
                yield Box(y, min(y + size, self.y1), x, min(x + size, self.x1))


def bounding_box(weight: NDArray[np.float32]) -> Box | None:
    """Smallest box that contains all pixels of positive weight; None if there are none."""
    rows, columns = np.flatnonzero(weight.any(axis=1)), np.flatnonzero(weight.any(axis=0))
    if not rows.size:
        return None
    return Box(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)


def pad(image: NDArray[np.float32], network: BioAttNetwork) -> NDArray[np.float32]:
    """Pad the last two axes by reflection to the network's border and to whole blocks; repeatedly for narrow images."""
    sides = [(network.border, network.border + -length % network.block) for length in image.shape[-2:]]
    return np.pad(image, [(0, 0)] * (image.ndim - 2) + sides, mode="reflect")


def run(
    network: BioAttNetwork,
    padded: Tensor,
    p: Tensor | None,
    box: Box,
    *,
    tile: int | None = None,
    record: dict[Stage, Tensor] | None = None,
    forward: Forward | None = None,
) -> Tensor:
    """Network output on `box`, of shape (box height, box width).

    padded: the slice's planes (C, H, W) after `pad`, as for forward. p: (N,), or (N, H, W) after `pad`.
    tile: side of the tiles in pixels, None for the whole box (networks that pool globally are never tiled).
    record: filled with the stage's attention maps on the box, (N, box height, box width). forward: a backend that
    computes `network.residual` instead of PyTorch; it records no maps.
    Raises ValueError if a spatial p and the slice differ in size.
    """
    if p is not None and p.ndim == 3 and p.shape[-2:] != padded.shape[-2:]:
        raise ValueError(f"padded p has {tuple(p.shape[-2:])} pixels, the padded slice {tuple(padded.shape[-2:])}")
    block = network.block
    whole = box.aligned(block)
    output = padded.new_empty(
        (whole.y1 - whole.y0, whole.x1 - whole.x0), dtype=torch.promote_types(padded.dtype, torch.float32)
    )
    size = None if tile is None or not network.tileable else max(tile - tile % block, block)
    for part in whole.tiles(size):
        shown = part.moved(network.border).grown(network.halo).clipped(padded.shape)
        rows, columns = shown.slices
        p_part = None if p is None else p[None] if p.ndim == 1 else p[None, :, rows, columns]
        maps: dict[Stage, list[Tensor]] | None = None if record is None else {}
        seen = padded[None, :, rows, columns]
        residual = network.residual(seen, p_part, maps) if forward is None else forward(seen, p_part)
        result = (residual + seen[:, :1])[0, 0]
        target, inner = part.within(whole), part.moved(network.border).within(shown)
        output[target] = result[inner].to(output.dtype)
        for stage, (stage_maps,) in (maps or {}).items():
            assert record is not None
            if stage not in record:
                record[stage] = output.new_empty((stage_maps.shape[1], *output.shape))
            record[stage][(slice(None), *target)] = network.pixel_maps(stage, stage_maps[0])[(slice(None), *inner)].to(
                output.dtype
            )
    inside = box.within(whole)
    for stage in record or {}:
        assert record is not None
        record[stage] = record[stage][(slice(None), *inside)]
    return output[inside]
