"""Base class of the networks: arms of Table 1, attention at two stages, prior and halo (BioAtt, §2.2–2.3)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from bioatt.network.attention import ChannelAttention, OrganAttention, SpatialAttention

Arm = Literal["base", "channel", "spatial", "bioatt"]
Weighting = Literal["anatomical", "uniform", "random"]
Stage = Literal["middle", "last"]
Layout = Literal["red_cnn", "unet", "slab_unet", "gated_unet"]
ARMS: tuple[Arm, ...] = ("base", "channel", "spatial", "bioatt")
WEIGHTINGS: tuple[Weighting, ...] = ("anatomical", "uniform", "random")
STAGES: tuple[Stage, ...] = ("middle", "last")
Record = dict[Stage, list[Tensor]]


class BioAttNetwork(nn.Module, ABC):
    """Residual denoiser: an encoder with attention at two stages and a decoder predict what to add to the input.

    forward: x (B, C, H, W), p (B, N) or (B, N, H, W) → (B, 1, H, W). x is the slice in standardised HU, C = 1. For a
    network with `neighbours`, C = 2 + 2 · neighbours: the slice, its neighbours, the noise level, and the nearness of
    each neighbour (`inference.planes`), or C = 1: a single slice of unknown noise. No ReLU follows the last layer,
    since standardised data can be negative. Pixels near the border lack context: callers pad a slice by reflecting
    `border` pixels, and pass part of a slice with up to `halo` more pixels on each side.
    """

    layout: ClassVar[Layout]
    block: ClassVar[int] = 1
    """Downsampling factor of the coarsest layer; H and W must be multiples of it."""
    neighbours: ClassVar[int] = 0
    """Number of neighbouring slices in x, half of them on either side."""
    none_passes: ClassVar[bool] = False
    """Whether p may sum to less than 1: without weight on any descriptor, features pass instead of dropping to 0."""

    attention: nn.ModuleDict

    def __init__(self, arm: Arm, filters: int, descriptors: int, weighting: Weighting = "anatomical") -> None:
        super().__init__()
        self.arm, self.filters, self.descriptors, self.weighting = arm, filters, descriptors, weighting

    @property
    def kind(self) -> str:
        """Description, the same for networks with interchangeable weights."""
        return f"{self.layout} of arm {self.arm} with {self.filters} filters and {self.descriptors} descriptors"

    @property
    @abstractmethod
    def halo(self) -> int:
        """Receptive-field radius in pixels, a multiple of `block`."""

    @property
    @abstractmethod
    def border(self) -> int:
        """Reflection padding of a slice in pixels, a multiple of `block`, at most the halo."""

    @abstractmethod
    def pixel_maps(self, stage: Stage, maps: Tensor) -> Tensor:
        """Resample a stage's recorded maps (N, …) to the input's pixels (N, H, W); RED-CNN's are 0 at the border."""

    @abstractmethod
    def _residual(self, x: Tensor, weights: Tensor | None, record: Record | None) -> Tensor:
        """Residual (B, 1, H, W) that is added to the input."""

    @abstractmethod
    def _at(self, stage: Stage, weights: Tensor) -> Tensor:
        """Resample a spatial prior (B, N, H, W) to the grid of the stage's features."""

    def _attention_blocks(self, channels: dict[Stage, int]) -> nn.ModuleDict:
        if self.arm == "base":
            return nn.ModuleDict()
        return nn.ModuleDict({stage: self._attention_block(width) for stage, width in channels.items()})

    def _attention_block(self, channels: int) -> nn.Module:
        if self.arm == "channel":
            return ChannelAttention(channels)
        return SpatialAttention() if self.arm == "spatial" else OrganAttention(self.descriptors)

    @property
    def tileable(self) -> bool:
        """False if the result depends on the whole image: global pooling, or weights drawn anew at every call."""
        return self.arm != "channel" and not (self.arm == "bioatt" and self.weighting == "random")

    @property
    def uses_prior(self) -> bool:
        """Whether forward needs p."""
        return self.arm == "bioatt" and self.weighting == "anatomical"

    def forward(self, x: Tensor, p: Tensor | None = None, record: Record | None = None) -> Tensor:
        """Denoise the slice of x (B, C, H, W). `record` receives each stage's maps A (B, N, …), see `pixel_maps`.

        Raises ValueError if x or p has a shape other than the class documents.
        """
        return self.residual(x, p, record) + x[:, :1]

    def residual(self, x: Tensor, p: Tensor | None = None, record: Record | None = None) -> Tensor:
        """Residual to add to the slice, (B, 1, H, W). Arguments and errors as `forward`."""
        if x.shape[-2] % self.block or x.shape[-1] % self.block:
            raise ValueError(f"{tuple(x.shape)}: height and width must be multiples of {self.block}")
        return self._residual(x, self._weights(x, p), record)

    def _attend(self, stage: Stage, x: Tensor, weights: Tensor | None, record: Record | None) -> Tensor:
        if self.arm == "base":
            return x
        if self.arm != "bioatt":
            attended: Tensor = self.attention[stage](x)
            return attended
        assert weights is not None
        here = weights if weights.shape[-1] == 1 else self._at(stage, weights)
        kept = None if record is None else record.setdefault(stage, [])
        weighted: Tensor = self.attention[stage](x, here, kept)
        return weighted

    def _weights(self, x: Tensor, p: Tensor | None) -> Tensor | None:
        """pₙ as (B, N, 1, 1) or (B, N, H, W); random weights are drawn at every call, as in the paper."""
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
