"""Denoising of canonical slices one by one: body only, HU range clipped, strength applied."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bioatt.anatomy.strength import StrengthMap
from bioatt.core.hu import CLIP_HU, OFFSET_HU, SCALE_HU
from bioatt.inference import tiling
from bioatt.inference.attention import AttentionRecorder
from bioatt.inference.context import Context
from bioatt.inference.planes import Planes, clipped
from bioatt.inference.run import Run
from bioatt.network import BioAttNetwork, Stage
from bioatt.priors.guard import PriorGuard

Progress = Callable[[float, int, int, float | None], None]
"""progress(fraction, slices done, slices, seconds left)"""


def denoise_slices(
    run: Run,
    context: Context,
    guard: PriorGuard | None,
    noise_hu: NDArray[np.float32] | None,
    strength: float | StrengthMap,
    recorder: AttentionRecorder | None,
    progress: Progress | None,
) -> NDArray[np.float32]:
    """Denoise the axial slices of a context's box, preparing each slice while the network runs on the previous one.

    guard: gives each slice's p. noise_hu: (z,) noise levels. strength: share of the network's change to apply, one
    value or by slice and pixel.
    """
    output = context.hu.copy()
    prepare = Preparation(context, run.network, guard, noise_hu, strength)
    start, count = time.monotonic(), len(output)
    with ThreadPoolExecutor(1) as executor:
        pending = executor.submit(prepare, 0)
        for k in range(count):
            ready = pending.result()
            if k + 1 < count:
                pending = executor.submit(prepare, k + 1)
            if ready is not None:
                _denoise_slice(run, ready, k, context.hu[k], recorder, output[k])
            if progress is not None:
                done = k + 1
                progress(done / count, done, count, (time.monotonic() - start) / done * (count - done))
    return output


@dataclass(frozen=True)
class _Ready:
    """A prepared slice: weight (y, x) and box of its body, planes (C, H, W) after `tiling.pad`, p, strength."""

    weight: NDArray[np.float32]
    box: tiling.Box
    planes: NDArray[np.float32]
    p: NDArray[np.float32] | None
    strength: np.float32 | NDArray[np.float32]


@dataclass(frozen=True)
class Preparation:
    """Prepares slice k for the network on the CPU; gives None for a slice without a body."""

    context: Context
    network: BioAttNetwork
    guard: PriorGuard | None
    noise_hu: NDArray[np.float32] | None
    strength: float | StrengthMap

    def __call__(self, k: int) -> _Ready | None:
        weight = self.context.body_weight(k)
        box = tiling.bounding_box(weight)
        if box is None:
            return None
        if not self.network.tileable:
            box = tiling.Box(0, weight.shape[0], 0, weight.shape[1])
        seen = self._planes(k, np.nan if self.noise_hu is None else float(self.noise_hu[k]))
        share = self.strength(k)[box.slices] if isinstance(self.strength, StrengthMap) else np.float32(self.strength)
        return _Ready(weight, box, seen, None if self.guard is None else self.guard(k), share)

    @cached_property
    def _planes(self) -> Planes:
        return Planes(self.context, self.network)


def _denoise_slice(
    run: Run,
    ready: _Ready,
    k: int,
    image: NDArray[np.float32],
    recorder: AttentionRecorder | None,
    output: NDArray[np.float32],
) -> None:
    """Add strength times the network's change within the body to `output` (y, x), a copy of slice k, `image`."""
    box, p, weight = ready.box, ready.p, ready.weight[ready.box.slices]
    maps: dict[Stage, Tensor] | None = None if recorder is None else {}
    denoised = run(ready.planes, p, box, maps)
    inside = image[box.slices]
    change = denoised.cpu().numpy() * SCALE_HU + OFFSET_HU - clipped(inside)
    change *= weight * (inside <= CLIP_HU[1])
    output[box.slices] += ready.strength * change
    if recorder is not None and maps is not None and p is not None:
        p_inside = p if p.ndim == 1 else p[(slice(None), *box.slices)]
        recorder.add(k, box, maps, torch.from_numpy(np.ascontiguousarray(p_inside)).to(denoised.device), weight == 1)
