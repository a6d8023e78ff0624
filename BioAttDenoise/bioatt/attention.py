"""Attention maps as volumes: each organ's map A at each voxel, and the unified A' = Σ pₙ Aₙ (equations 4–6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bioatt.attention_views import SCALE
from bioatt.errors import InputError
from bioatt.network import STAGES, Stage
from bioatt.tiling import Box
from bioatt.volume import Canonical, Volume

UNIFIED = "unified"


@dataclass(frozen=True)
class AttentionRequest:
    """Which maps to keep. Each costs one byte a voxel: choose stages and descriptors for long scans.

    descriptors None means all; `unified` adds A'.
    """

    stages: tuple[Stage, ...] = STAGES
    descriptors: tuple[str, ...] | None = None
    unified: bool = True

    def names(self, available: tuple[str, ...]) -> tuple[str, ...]:
        """Descriptors to keep, in the model's order. Raises InputError where one is unknown to the model."""
        if not available:
            raise InputError("this model has no organ attention: choose one of the bioatt arm")
        unknown = sorted(set(self.descriptors or ()) - set(available))
        if unknown:
            raise InputError(f"the model has no attention map for {', '.join(unknown)}: it has {', '.join(available)}")
        return tuple(name for name in available if self.descriptors is None or name in self.descriptors)


@dataclass
class AttentionRecorder:
    """Gathers the maps of a denoising, slice by slice, in canonical orientation. Outside the body they are 0."""

    request: AttentionRequest
    descriptors: tuple[str, ...]
    shape: tuple[int, int, int]
    maps: dict[tuple[Stage, str], NDArray[np.uint8]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [*self.request.names(self.descriptors), *([UNIFIED] if self.request.unified else [])]
        for stage in self.request.stages:
            for name in names:
                self.maps[stage, name] = np.zeros(self.shape, np.uint8)

    def add(self, index: int, box: Box, maps: Mapping[Stage, Tensor], p: Tensor, body: NDArray[np.bool_]) -> None:
        """Store one slice's maps (N, box) of each stage; p is (N,) or, spatial, (N, box); body (box)."""
        weights = p[:, None, None] if p.ndim == 1 else p
        for (stage, name), volume in self.maps.items():
            a = maps[stage]
            a = (a * weights).sum(dim=0) if name == UNIFIED else a[self.descriptors.index(name)]
            volume[(index, *box.slices)] = (a.float().clamp(0, 1) / SCALE).round().cpu().numpy() * body

    def volumes(self, canonical: Canonical, like: Volume) -> dict[tuple[Stage, str], Volume]:
        """The maps as volumes of `like`'s geometry, keyed by (stage, descriptor or "unified")."""
        return {
            key: replace(like, hu=canonical.undo(stored), storage="uint8", padding=(), warnings=())
            for key, stored in self.maps.items()
        }
