"""A U-net with attention gates on the skips: at each pixel, the decoder weights the encoder's features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bioatt.network.base import Arm, Weighting
from bioatt.network.unet import UNet


class AttentionGate(nn.Module):
    """share · skip, with share = sigmoid(ψ(relu(W skip + V y))) at each pixel (Oktay 2018, arXiv 1804.03999)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.of_skip = nn.Conv2d(channels, channels, 1)
        self.of_decoder = nn.Conv2d(channels, channels, 1, bias=False)
        self.share = nn.Conv2d(channels, 1, 1)

    def forward(self, y: Tensor, skip: Tensor) -> Tensor:
        return skip * torch.sigmoid(self.share(torch.relu(self.of_skip(skip) + self.of_decoder(y))))


class GatedUNet(UNet):
    """`UNet` with gated skips and four residual blocks at quarter resolution. Initialised as the identity."""

    layout = "gated_unet"
    blocks = (1, 1, 4)

    def __init__(self, arm: Arm, filters: int, descriptors: int, weighting: Weighting = "anatomical") -> None:
        super().__init__(arm, filters, descriptors, weighting)
        self.gates = nn.ModuleList(AttentionGate(width) for width in (filters, 2 * filters))

    def _joined(self, level: int, y: Tensor, skip: Tensor) -> Tensor:
        return y + self.gates[level](y, skip)
