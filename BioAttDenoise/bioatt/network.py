"""RED-CNN with organ-aware attention: the networks of Table 1 (BioAtt, arXiv 2504.01662, §2.2–2.3).

Convolutions are unpadded and each is undone by its transpose, so the output has the input's size. Of that output only
pixels `HALO` or more from the border have seen their whole receptive field: callers pad by `HALO` and crop.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Arm = Literal["base", "channel", "spatial", "bioatt"]
Weighting = Literal["anatomical", "uniform", "random"]
Stage = Literal["middle", "last"]
ARMS: tuple[Arm, ...] = ("base", "channel", "spatial", "bioatt")
WEIGHTINGS: tuple[Weighting, ...] = ("anatomical", "uniform", "random")
STAGES: tuple[Stage, ...] = ("middle", "last")
CROP: dict[Stage, int] = {"middle": 6, "last": 10}
"""Pixels that three and five unpadded 5×5 convolutions take off each side before a stage's attention."""
HALO = 26
"""Receptive-field radius: ten 5×5 layers (2 px each) and two 7×7 attention convolutions (3 px each)."""
# Both count the pixels that the layers see: `unshuffle` of the slice's own (see `BioAttNetwork.halo` and `crop`).


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
        at_least_float = torch.promote_types(x.dtype, torch.float32)  # CPUs take seven times as long for bf16's maximum
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


class BioAttNetwork(nn.Module):
    """RED-CNN (Chen 2017) whose encoder attends after relu(conv3), "middle", and relu(conv5), "last".

    forward: x (B, 1, H, W) standardised HU, p (B, N) or (B, N, H, W) → (B, 1, H, W). No ReLU follows the last layer,
    since standardised data are negative. unshuffle u > 1: the layers see each u × u block of pixels as one pixel of u²
    channels (Shi 2016), u² times fewer; H and W are then multiples of u.
    """

    def __init__(
        self, arm: Arm, filters: int, descriptors: int, weighting: Weighting = "anatomical", unshuffle: int = 1
    ) -> None:
        super().__init__()
        self.arm, self.filters, self.descriptors, self.weighting = arm, filters, descriptors, weighting
        self.unshuffle = unshuffle
        widths = [unshuffle**2] + [filters] * 5
        self.encoder = nn.ModuleList(nn.Conv2d(a, b, 5) for a, b in pairwise(widths))
        self.decoder = nn.ModuleList(nn.ConvTranspose2d(a, b, 5) for a, b in pairwise(widths[::-1]))
        self.attention = nn.ModuleDict({stage: self._attention_block() for stage in STAGES} if arm != "base" else {})

    def _attention_block(self) -> nn.Module:
        if self.arm == "channel":
            return ChannelAttention(self.filters)
        return SpatialAttention() if self.arm == "spatial" else OrganAttention(self.descriptors)

    @property
    def tileable(self) -> bool:
        """False where the result depends on the whole image: global pooling, or weights drawn at every call."""
        return self.arm != "channel" and not (self.arm == "bioatt" and self.weighting == "random")

    @property
    def uses_prior(self) -> bool:
        """Whether forward needs p."""
        return self.arm == "bioatt" and self.weighting == "anatomical"

    @property
    def halo(self) -> int:
        """Receptive-field radius in pixels of the slice."""
        return HALO * self.unshuffle

    def forward(self, x: Tensor, p: Tensor | None = None, record: dict[Stage, list[Tensor]] | None = None) -> Tensor:
        """Denoise. `record`, where given, receives each stage's maps A (B, N, H/u − 2·CROP, W/u − 2·CROP).

        Raises ValueError where x or p has another shape than the class says.
        """
        weights = self._weights(x, p)
        if self.unshuffle == 1:
            return self._residual(x, weights, record) + x
        if x.shape[-2] % self.unshuffle or x.shape[-1] % self.unshuffle:
            raise ValueError(f"{tuple(x.shape)}: height and width must be multiples of {self.unshuffle}")
        if weights is not None and weights.shape[-1] > 1:
            weights = functional.avg_pool2d(weights, self.unshuffle)
        blocks = functional.pixel_unshuffle(x, self.unshuffle)
        return functional.pixel_shuffle(self._residual(blocks, weights, record), self.unshuffle) + x

    def _residual(self, x: Tensor, weights: Tensor | None, record: dict[Stage, list[Tensor]] | None) -> Tensor:
        """What the network adds to its input: (B, u², H/u, W/u) of both."""
        conv1, conv2, conv3, conv4, conv5 = self.encoder
        skip2 = torch.relu(conv2(torch.relu(conv1(x))))
        middle = self._attend("middle", torch.relu(conv3(skip2)), weights, record)
        skip4 = torch.relu(conv4(middle))
        y = self._attend("last", torch.relu(conv5(skip4)), weights, record)
        deconv1, deconv2, deconv3, deconv4, deconv5 = self.decoder
        y = torch.relu(deconv1(y) + skip4)
        y = torch.relu(deconv2(y))
        y = torch.relu(deconv3(y) + skip2)
        y = torch.relu(deconv4(y))
        return deconv5(y)

    def _attend(
        self, stage: Stage, x: Tensor, weights: Tensor | None, record: dict[Stage, list[Tensor]] | None
    ) -> Tensor:
        if self.arm == "base":
            return x
        if self.arm != "bioatt":
            return self.attention[stage](x)
        assert weights is not None
        crop = CROP[stage]
        cropped = weights if weights.shape[-1] == 1 else weights[..., crop:-crop, crop:-crop]
        return self.attention[stage](x, cropped, None if record is None else record.setdefault(stage, []))

    def _weights(self, x: Tensor, p: Tensor | None) -> Tensor | None:
        """pₙ as (B, N, 1, 1) or (B, N, H, W); the random arm draws anew at every call, as the paper's ablation did."""
        if self.arm != "bioatt":
            return None
        shape = (x.shape[0], self.descriptors)
        if self.weighting == "uniform":
            return x.new_full((*shape, 1, 1), 1 / self.descriptors)
        if self.weighting == "random":
            drawn = torch.rand(shape, device=x.device, dtype=x.dtype)
            return (drawn / drawn.sum(dim=1, keepdim=True))[:, :, None, None]
        if p is None:
            raise ValueError("the bioatt arm needs the prior p of shape (B, N) or (B, N, H, W)")
        if p.shape[:2] != shape or (p.ndim == 4 and p.shape[2:] != x.shape[2:]) or p.ndim not in (2, 4):
            raise ValueError(f"prior of shape {tuple(p.shape)} does not fit {shape} or {(*shape, *x.shape[2:])}")
        return p[:, :, None, None] if p.ndim == 2 else p


def build_network(
    arm: Arm = "bioatt",
    filters: int = 96,
    descriptors: int = 17,
    weighting: Weighting = "anatomical",
    unshuffle: int = 1,
) -> BioAttNetwork:
    """A network of Table 1 with fresh weights.

    filters: 96 in the paper; fewer make a slim model. descriptors: N. weighting: the bioatt arm's ablations.
    unshuffle: 1 in the paper; 2 or more make a fast model.
    Raises ValueError for an unknown arm.
    """
    if arm not in ARMS:
        raise ValueError(f"unknown arm {arm!r}: choose one of {', '.join(ARMS)}")
    return BioAttNetwork(arm, filters, descriptors, weighting, unshuffle)
