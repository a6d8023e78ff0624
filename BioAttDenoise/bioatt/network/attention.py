"""Attention blocks: the paper's organ attention and those it compares with (BioAtt, arXiv 2504.01662, §2.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """Squeeze-and-excitation (Hu 2018), reduction 16. Pools over the whole image, so it must never be tiled."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.gate = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x.mean(dim=(2, 3)))[:, :, None, None]


class SpatialAttention(nn.Module):
    """N attention maps from channel mean and maximum (equations 3–4); with N = 1, CBAM's spatial block (Woo 2018)."""

    def __init__(self, maps: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, maps, kernel_size=7, padding=3, bias=False)

    def maps(self, x: Tensor) -> Tensor:
        """A = σ(conv([mean, max])), (B, C, H, W) → (B, N, H, W), values 0…1."""
        at_least_float = torch.promote_types(x.dtype, torch.float32)  # the bf16 maximum is seven times slower on CPUs
        highest = x.to(at_least_float).amax(dim=1, keepdim=True).to(x.dtype)
        pooled = torch.cat([x.mean(dim=1, keepdim=True), highest], dim=1)
        return torch.sigmoid(self.conv(pooled))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.maps(x)


class OrganAttention(SpatialAttention):
    """Attention maps weighted by the anatomical prior and summed: A' = Σₙ pₙ Aₙ, x' = x ⊙ A' (equations 5–6)."""

    def forward(self, x: Tensor, p: Tensor, record: list[Tensor] | None = None) -> Tensor:  # type: ignore[override]
        """x (B, C, H, W); p (B, N, 1, 1), or (B, N, H, W) for a spatial prior. `record` receives A (B, N, H, W)."""
        maps = self.maps(x)
        if record is not None:
            record.append(maps)
        return x * (maps * p).sum(dim=1, keepdim=True)
