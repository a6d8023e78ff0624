"""The shipped network: a slice with its neighbours and noise level as input, and the paper's organ-aware attention.

A U-net (Ronneberger 2015, arXiv 1505.04597) that works at half resolution and below: its first layer merges 2×2 pixels
and its last restores them (Shi 2016, arXiv 1609.05158). Neighbouring slices enter as differences from the slice, each
with a plane that gives its nearness, so that layers can follow anatomy from slice to slice (as in FastDVDnet, Tassano
2020, arXiv 1907.01361). The noise level conditions the network on the dose, both as an input plane (Zhang 2021, arXiv
2008.13751) and as a scale and shift of each hidden channel (FiLM, Perez 2018, arXiv 1709.07871).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from bioatt.network.attention import OrganAttention
from bioatt.network.base import Arm, BioAttNetwork, Record, Stage, Weighting
from bioatt.network.unet import ResidualBlock

NEIGHBOURS = 2
"""Neighbours in the input: the slice below, then the slice above."""
NOISE_UNIT_HU = 50.0
BLOCKS = (1, 2)
"""Residual blocks at half and quarter resolution; the decoder has only the first."""
PROJECTIONS = 6
"""Learned projections of the features that the attention maps use in addition to mean and maximum."""
EMBEDDING = 16
"""Number of basis functions of the noise level for scales and shifts."""
_FOLD = 2
SCALE: dict[Stage, int] = {"middle": 2, "last": 4}


def nearness(distance_mm: Tensor) -> Tensor:
    """Nearness of a neighbour: 1 at the slice, halved every 2 mm."""
    return torch.exp2(-distance_mm / 2)


def alone(images: Tensor, noise_hu: float = math.nan) -> Tensor:
    """Build x (B, 6, H, W) from slices (B, 1, H, W) without neighbours, with this noise level (NaN: unknown)."""
    planes = functional.pad(images, (0, 0, 0, 0, 0, 1 + 2 * NEIGHBOURS))
    if not math.isnan(noise_hu):
        planes[:, 1 + NEIGHBOURS] = noise_hu / NOISE_UNIT_HU
    return planes


class GuidedAttention(OrganAttention):
    """Organ attention with learned projections as additional input, applied residually: x' = x ⊙ (1 + γ A').

    A = σ(conv([mean, max, projections])) and A' = Σₙ pₙ Aₙ are equations 3 to 5; without weight on any descriptor,
    features pass unchanged. γ, one value per channel initialised to 0, keeps a wrong prior from rescaling all features.
    """

    def __init__(self, channels: int, maps: int) -> None:
        super().__init__(maps)
        self.project = nn.Conv2d(channels, PROJECTIONS, 1)
        self.conv = nn.Conv2d(2 + PROJECTIONS, maps, 7, padding=3)
        self.gain = nn.Parameter(torch.zeros(channels, 1, 1))

    def maps(self, x: Tensor) -> Tensor:
        at_least_float = torch.promote_types(x.dtype, torch.float32)
        highest = x.to(at_least_float).amax(dim=1, keepdim=True).to(x.dtype)
        seen = torch.cat([x.mean(dim=1, keepdim=True), highest, torch.relu(self.project(x))], dim=1)
        return torch.sigmoid(self.conv(seen))

    def forward(self, x: Tensor, p: Tensor, record: list[Tensor] | None = None) -> Tensor:  # type: ignore[override]
        maps = self.maps(x)
        if record is not None:
            record.append(maps)
        return torch.addcmul(x, x, self.gain * (maps * p).sum(dim=1, keepdim=True))


class NoiseEmbedding(nn.Module):
    """EMBEDDING basis functions of the noise level (B, 1), piecewise linear in its logarithm."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, EMBEDDING)
        self.linear.weight.data.fill_(1)
        self.linear.bias.data = -torch.linspace(-4, 1, EMBEDDING)  # knots from 1 HU to 140 HU

    def forward(self, noise: Tensor) -> Tensor:
        return torch.relu(self.linear(torch.log(noise.clamp_min(0) + 0.01)))


class ConditionedBlock(ResidualBlock):
    """x + conv(relu((1 + a) ⊙ conv(x) + b)), 3×3, with a and b of each channel from the noise level.

    The same amplitude is noise at one dose and anatomy at another, so hidden units need dose-dependent thresholds.
    Initialised as the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.film = nn.Linear(EMBEDDING, 2 * channels)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:  # type: ignore[override]
        factor, offset = self.film(noise)[:, :, None, None].chunk(2, dim=1)
        hidden = torch.addcmul(offset, self.conv1(x), 1 + factor).relu_()
        return x + self.conv2(hidden)  # under autocast, x stays in float32


class SlabUNet(BioAttNetwork):
    """Two-level U-net with attention in the encoder at half resolution, "middle", and quarter resolution, "last".

    The levels have 2 and 4 times `filters` channels. `_residual` takes x (B, 1 + NEIGHBOURS + 1 + NEIGHBOURS, H, W):
    the slice, its neighbours (any value if missing), the noise level in HU / NOISE_UNIT_HU (0 if unknown) and each
    neighbour's nearness 2^(−|Δz| / 2 mm) (0 if missing); the last two are constant planes.
    An x (B, 1, H, W) is a single slice of unknown noise: the other planes are 0. p (B, N), or (B, N, H, W). Initialised
    as the identity.
    """

    layout = "slab_unet"
    block = 4
    neighbours = NEIGHBOURS
    none_passes = True

    def __init__(self, arm: Arm, filters: int, descriptors: int, weighting: Weighting = "anatomical") -> None:
        super().__init__(arm, filters, descriptors, weighting)
        half, quarter = widths = (2 * filters, 4 * filters)
        self.stem = nn.Conv2d((1 + NEIGHBOURS) * _FOLD**2 + 1 + NEIGHBOURS, half, 3, padding=1)
        self.noise = NoiseEmbedding()
        self.encoder = nn.ModuleList(_level(width, n) for width, n in zip(widths, BLOCKS, strict=True))
        self.down = nn.Conv2d(half, quarter, 2, stride=2)
        self.up = nn.ConvTranspose2d(quarter, half, 2, stride=2)
        self.decoder = _level(half, BLOCKS[0])
        self.tail = nn.Conv2d(half, _FOLD**2, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        assert self.tail.bias is not None
        nn.init.zeros_(self.tail.bias)
        self.attention = self._attention_blocks(dict(zip(SCALE, widths, strict=True)))

    def _attention_block(self, channels: int) -> nn.Module:
        if self.arm == "bioatt":
            return GuidedAttention(channels, self.descriptors)
        return super()._attention_block(channels)

    @property
    def halo(self) -> int:
        """Sum of the convolutions' radii times their scale, plus the offset within a block."""
        half = 2 + 2 * 2 * BLOCKS[0] + 3  # stem, tail, both sides' blocks of two convolutions, the attention's 7×7
        quarter = 2 * BLOCKS[1] + 3
        radius = 2 * half + 4 * quarter + self.block - 1
        return radius + -radius % self.block

    @property
    def border(self) -> int:
        """Enough to hide zero padding; training likewise excluded the outermost 14 pixels from the loss."""
        return 16

    def pixel_maps(self, stage: Stage, maps: Tensor) -> Tensor:
        return functional.interpolate(maps[None], scale_factor=SCALE[stage], mode="bilinear", align_corners=False)[0]

    def _at(self, stage: Stage, weights: Tensor) -> Tensor:
        coarse = functional.avg_pool2d(weights, SCALE["last"])
        return coarse if stage == "last" else functional.interpolate(coarse, scale_factor=2.0, mode="nearest")

    def _residual(self, x: Tensor, weights: Tensor | None, record: Record | None) -> Tensor:
        if x.shape[1] == 1:
            x = alone(x)
        noise = self.noise(x[:, 1 + NEIGHBOURS, 0, :1])
        half = self._attend("middle", _passed(self.encoder[0], self._stem(x), noise), weights, record)
        y = self._attend("last", _passed(self.encoder[1], self.down(half), noise), weights, record)
        y = _passed(self.decoder, self.up(y) + half, noise)
        output: Tensor = functional.pixel_shuffle(self.tail(y), _FOLD)
        return output

    def _stem(self, x: Tensor) -> Tensor:
        """First layer, in float32 at least even under autocast: half precision would round HU to several units."""
        image, neighbours, noise, nearness = x.split((1, NEIGHBOURS, 1, NEIGHBOURS), dim=1)
        differences = (neighbours - image) * (nearness > 0)
        folded = functional.pixel_unshuffle(torch.cat([image, differences], dim=1), _FOLD)
        planes = torch.cat([noise, nearness], dim=1)[..., ::_FOLD, ::_FOLD]
        both = torch.cat([folded, planes], dim=1)
        with torch.autocast(x.device.type, enabled=False):
            seen: Tensor = self.stem(both.to(torch.promote_types(both.dtype, torch.float32)))
        return seen


def _level(channels: int, blocks: int) -> nn.ModuleList:
    return nn.ModuleList(ConditionedBlock(channels) for _ in range(blocks))


def _passed(blocks: nn.Module, x: Tensor, noise: Tensor) -> Tensor:
    assert isinstance(blocks, nn.ModuleList)
    for block in blocks:
        x = block(x, noise)
    return x
