"""The organ-map network: from an axial slice on cells of about 3.3 mm to the probability of each organ and of none.

A U-net (Ronneberger 2015, arXiv 1505.04597) with residual blocks (He 2016) and additive skips. Its first layer merges
2×2 cells and its last restores them (Shi 2016, arXiv 1609.05158), so a slice takes milliseconds on a CPU.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

WINDOWS_HU = ((-1000.0, 0.0), (-150.0, 250.0), (100.0, 1200.0))
"""Windows for lung and fat, soft tissue, and bone; one input channel each."""
WIDTHS = (32, 48, 96, 160)
BLOCK = 16
"""Height and width of the input must be multiples of this."""
_COORDINATES = 2
_FOLD = 2


class OrganMapNetwork(nn.Module):
    """forward: hu (B, 1, H, W) and coordinates (B, 2, H, W) → logits (B, classes, H, W).

    coordinates: x and y relative to the body's box, -1 and 1 at its edges. widths: channels at 1/2, 1/4, 1/8 and 1/16
    of the resolution.
    """

    low: Tensor
    span: Tensor

    def __init__(self, classes: int, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        first, *deeper = self.widths = tuple(widths)
        self.stem = Layer((len(WINDOWS_HU) + _COORDINATES) * _FOLD**2, first)
        self.down = nn.ModuleList(Layer(a, b, stride=2) for a, b in pairwise(self.widths))
        self.encoder = nn.ModuleList(Residual(width) for width in deeper)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(self.widths))
        self.decoder = nn.ModuleList([Layer(first, first), *(Residual(width) for width in deeper[:-1])])
        self.head = nn.Conv2d(first, classes * _FOLD**2, 1)
        edges = torch.tensor(WINDOWS_HU).view(1, len(WINDOWS_HU), 1, 1, 2)
        self.register_buffer("low", edges[..., 0], persistent=False)
        self.register_buffer("span", edges[..., 1] - edges[..., 0], persistent=False)

    def forward(self, hu: Tensor, coordinates: Tensor) -> Tensor:
        windowed = ((hu - self.low) / self.span).clamp(0, 1) * 2 - 1
        x = self.stem(functional.pixel_unshuffle(torch.cat([windowed, coordinates], dim=1), _FOLD))
        skips = []
        for down, block in zip(self.down, self.encoder, strict=True):
            skips.append(x)
            x = block(down(x))
        for up, block, skip in zip(reversed(self.up), reversed(self.decoder), reversed(skips), strict=True):
            x = block(functional.interpolate(up(x), scale_factor=2.0, mode="nearest") + skip)
        return functional.pixel_shuffle(self.head(x), _FOLD)


class Layer(nn.Module):
    """Convolution 3×3, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(self.conv(x)), inplace=True)


class Residual(nn.Module):
    """relu(x + norm(conv(layer(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = Layer(channels, channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.norm(self.conv(self.layer(x))), inplace=True)


def fuse(network: OrganMapNetwork) -> OrganMapNetwork:
    """Fold a network's batch normalisations into its convolutions, in place; the network must be in evaluation mode."""
    for module in network.modules():
        if isinstance(module, Layer | Residual) and isinstance(module.norm, nn.BatchNorm2d):
            module.conv = nn.utils.fuse_conv_bn_eval(module.conv, module.norm)
            module.norm = nn.Identity()
    return network
