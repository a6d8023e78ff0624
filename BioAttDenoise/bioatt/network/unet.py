"""A U-net (Ronneberger 2015, arXiv 1505.04597) with the paper's organ-aware attention.

CT noise is coarse and streaks are long: at quarter resolution a layer has four times the receptive field at a sixteenth
of the cost. Two encoder stages have the paper's attention (equations 3 to 6).
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from bioatt.network.base import Arm, BioAttNetwork, Layout, Record, Stage, Weighting

BLOCKS = (1, 1, 2)
"""Residual blocks at full, half and quarter resolution; the decoder has only the first two."""
SCALE: dict[Stage, int] = {"middle": 2, "last": 4}
"""Downsampling factor of the stage's features."""


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), 3×3 (He 2016). Initialised as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        _zero_init(self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(torch.relu(self.conv1(x)))


class UNet(BioAttNetwork):
    """Three-level U-net with attention in the encoder at half resolution, "middle", and quarter resolution, "last".

    The levels have 1, 2 and 4 times `filters` channels. Recorded maps are (B, N, H/2, W/2) and (B, N, H/4, W/4).
    Initialised as the identity.
    """

    layout: ClassVar[Layout] = "unet"
    block = 4
    blocks: ClassVar[tuple[int, int, int]] = BLOCKS

    def __init__(self, arm: Arm, filters: int, descriptors: int, weighting: Weighting = "anatomical") -> None:
        super().__init__(arm, filters, descriptors, weighting)
        widths = (filters, 2 * filters, 4 * filters)
        self.head = nn.Conv2d(1, filters, 5, padding=2)
        self.encoder = nn.ModuleList(_level(width, n) for width, n in zip(widths, self.blocks, strict=True))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.decoder = nn.ModuleList(_level(width, n) for width, n in zip(widths[:2], self.blocks[:2], strict=True))
        self.tail = nn.Conv2d(filters, 1, 3, padding=1)
        _zero_init(self.tail)
        self.attention = self._attention_blocks({"middle": widths[1], "last": widths[2]})

    @property
    def halo(self) -> int:
        """Sum of the convolutions' radii times their scale, plus the offset within a block."""
        full = 2 + 1 + 2 * 2 * self.blocks[0]  # head, tail, both sides' blocks of two convolutions
        half = 2 * 2 * self.blocks[1] + 3  # both sides' blocks, and the attention's 7×7
        quarter = 2 * self.blocks[2] + 3
        radius = full + 2 * half + 4 * quarter + self.block - 1
        return radius + -radius % self.block

    @property
    def border(self) -> int:
        """Enough to hide zero padding; training likewise excluded the outermost 14 pixels from the loss."""
        return 16

    def pixel_maps(self, stage: Stage, maps: Tensor) -> Tensor:
        return functional.interpolate(maps[None], scale_factor=SCALE[stage], mode="bilinear", align_corners=False)[0]

    def _at(self, stage: Stage, weights: Tensor) -> Tensor:
        return functional.avg_pool2d(weights, SCALE[stage])

    def _residual(self, x: Tensor, weights: Tensor | None, record: Record | None) -> Tensor:
        full = self.encoder[0](self.head(x))
        half = self._attend("middle", self.encoder[1](self.down[0](full)), weights, record)
        y = self._attend("last", self.encoder[2](self.down[1](half)), weights, record)
        y = self.decoder[1](self._joined(1, self.up[1](y), half))
        y = self.decoder[0](self._joined(0, self.up[0](y), full))
        output: Tensor = self.tail(y)
        return output

    def _joined(self, level: int, y: Tensor, skip: Tensor) -> Tensor:
        """Input of a level's decoder (0: full resolution) from the coarser level and the encoder."""
        return y + skip


def _level(channels: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))


def _zero_init(layer: nn.Conv2d) -> None:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
