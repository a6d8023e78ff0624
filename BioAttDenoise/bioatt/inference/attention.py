"""Attention maps as volumes: each descriptor's map A, and the unified map A' = Σ pₙ Aₙ (equations 4–6).

A map is a learned weighting, named after the descriptor whose p weights it; it does not outline the organ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bioatt.core import attention_views
from bioatt.core.attention_views import SCALE
from bioatt.core.canonical import canonical
from bioatt.core.errors import InputError
from bioatt.core.volume import Volume
from bioatt.inference.tiling import Box
from bioatt.network import STAGES, Stage
from bioatt.priors.base import Prior

UNIFIED = "unified"


@dataclass(frozen=True)
class AttentionRequest:
    """Selection of the maps to record. Each takes one byte per voxel: select stages and descriptors for long scans.

    descriptors: None for all. unified: whether to add A'. Raises InputError for a stage that no network has.
    """

    stages: tuple[Stage, ...] = STAGES
    descriptors: tuple[str, ...] | None = None
    unified: bool = True

    def __post_init__(self) -> None:
        unknown = sorted(set(self.stages) - set(STAGES))
        if unknown:
            raise InputError(f"no network has attention at stage {unknown[0]!r:.40}: choose from {', '.join(STAGES)}")

    def names(self, available: tuple[str, ...]) -> tuple[str, ...]:
        """Descriptors to record, in the model's order. Raises InputError if one is unknown to the model."""
        if not available:
            raise InputError("this model has no organ attention: choose a model of the bioatt arm")
        unknown = sorted(set(self.descriptors or ()) - set(available))
        if unknown:
            raise InputError(f"the model has no attention map for {', '.join(unknown)}: it has {', '.join(available)}")
        return tuple(name for name in available if self.descriptors is None or name in self.descriptors)


@dataclass
class AttentionRecorder:
    """Records the maps of a denoising run, slice by slice, in canonical orientation; 0 outside the body."""

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


@dataclass(frozen=True)
class AttentionMaps(Mapping[tuple[Stage, str], Volume]):
    """Volumes keyed by (stage, descriptor or "unified"), created on access from one byte per voxel."""

    stored: dict[tuple[Stage, str], NDArray[np.uint8]]
    like: Volume

    def __getitem__(self, key: tuple[Stage, str]) -> Volume:
        return replace(self.like, hu=self.stored[key], storage="uint8", padding=(), warnings=())

    def __iter__(self) -> Iterator[tuple[Stage, str]]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)


def viewed(maps: Mapping[tuple[Stage, str], Volume], view: str, prior: Prior) -> dict[tuple[Stage, str], Volume]:
    """Convert the maps of a Result to another view (`attention_views.VIEWS`), float32; A' is raw in every view.

    prior: the Result's. Raises InputError for the contrast if a stage has only one organ.
    """
    found = {}
    for (stage, name), volume in maps.items():
        if view == "raw" or name == UNIFIED:
            values = attention_views.raw(volume.hu)
        elif view == "contrast":
            organs = {n: v.hu for (s, n), v in maps.items() if s == stage and n != UNIFIED}
            values = attention_views.contrast(organs, name)
        else:
            oriented = canonical(volume)
            number = prior.descriptors.index(name)
            p = np.stack(
                [prior.p[k][number] for k in range(len(prior.p))]
            )  # a spatial prior computes one slice at a time
            p = p[:, None, None] if p.ndim == 1 else p
            weights = oriented.undo(np.ascontiguousarray(np.broadcast_to(p, oriented.volume.shape)))
            values = attention_views.contribution(volume.hu, weights)
        found[stage, name] = replace(volume, hu=values, storage="float32")
    return found
