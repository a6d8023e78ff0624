"""The small network of the embedded prior: slice image → presence of each descriptor."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

WINDOWS_HU = ((-1000.0, 0.0), (-150.0, 250.0), (150.0, 1200.0))
"""Lung and fat, soft tissue, bone: one channel each."""
EPSILON = 1e-3
"""Added to every presence, so that a slice without anatomy gets the uniform distribution."""


class EmbeddedNetwork(nn.Module):
    """Convolutions over the slice image, mean and maximum pooling, one logit of presence per descriptor.

    forward: (B, 1, grid, grid) HU → (B, N) logits.
    """

    low: Tensor
    span: Tensor

    def __init__(self, descriptors: int, width: int = 16) -> None:
        super().__init__()
        self.width = width
        self.features = nn.Sequential(
            *_layer(len(WINDOWS_HU), width, kernel=5, stride=2),
            *_layer(width, 2 * width, stride=2),
            *_layer(2 * width, 3 * width),
            nn.MaxPool2d(2),
            *_layer(3 * width, 5 * width),
            *_layer(5 * width, 5 * width),
            nn.MaxPool2d(2),
            *_layer(5 * width, 8 * width),
            *_layer(8 * width, 8 * width),
        )
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(16 * width, descriptors)
        edges = torch.tensor(WINDOWS_HU).view(1, len(WINDOWS_HU), 1, 1, 2)
        self.register_buffer("low", edges[..., 0], persistent=False)
        self.register_buffer("span", edges[..., 1] - edges[..., 0], persistent=False)

    def forward(self, hu: Tensor) -> Tensor:
        return self.logits(self.windowed(hu))

    def windowed(self, hu: Tensor) -> Tensor:
        """(B, 1, grid, grid) HU → (B, windows, grid, grid) in -1…1."""
        return ((hu - self.low) / self.span).clamp(0, 1) * 2 - 1

    def logits(self, windowed: Tensor) -> Tensor:
        """(B, windows, grid, grid) → (B, N)."""
        features = self.features(windowed)
        pooled = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        return self.head(self.dropout(pooled))


def share(presence: Tensor) -> Tensor:
    """Presence (B, N) in 0…1 → p (B, N): normalised to sum to 1."""
    raised = presence + EPSILON
    return raised / raised.sum(dim=1, keepdim=True)


def fuse(network: EmbeddedNetwork) -> EmbeddedNetwork:
    """Fold the normalisations of a network in evaluation mode into its convolutions, in place."""
    for index, (convolution, layer) in enumerate(pairwise(network.features), start=1):
        if isinstance(convolution, nn.Conv2d) and isinstance(layer, nn.BatchNorm2d):
            network.features[index - 1] = nn.utils.fuse_conv_bn_eval(convolution, layer)
            network.features[index] = nn.Identity()
    return network


def _layer(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
