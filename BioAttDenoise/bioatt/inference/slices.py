"""Denoise canonical slices one after another: body only, HU range clipped, strength applied."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bioatt.anatomy.strength import StrengthMap
from bioatt.core.body import body_weight
from bioatt.core.hu import CLIP_HU, OFFSET_HU, SCALE_HU
from bioatt.inference import tiling
from bioatt.inference.attention import AttentionRecorder
from bioatt.inference.run import Run
from bioatt.network import Stage
from bioatt.priors.guard import PriorGuard

Progress = Callable[[float, int, int, float | None], None]
"""progress(fraction, slices done, slices, seconds left)"""


def denoise_slices(
    run: Run,
    hu: NDArray[np.float32],
    guard: PriorGuard | None,
    noise_hu: NDArray[np.float32] | None,
    strength: float | StrengthMap,
    recorder: AttentionRecorder | None,
    progress: Progress | None,
) -> NDArray[np.float32]:
    """Denoise axial slices hu (z, y, x); guard gives each slice's p, noise_hu (z,) its noise level, strength
    the share of the network's change that is applied, one for all or by slice and pixel."""
    output = hu.copy()
    start = time.monotonic()
    for k, image in enumerate(hu):
        run.noise_hu = None if noise_hu is None else float(noise_hu[k])
        share = strength(k) if isinstance(strength, StrengthMap) else np.broadcast_to(np.float32(strength), image.shape)
        _denoise_slice(run, k, image, None if guard is None else guard(k), share, recorder, output[k])
        if progress is not None:
            done = k + 1
            progress(done / len(hu), done, len(hu), (time.monotonic() - start) / done * (len(hu) - done))
    return output


def _denoise_slice(
    run: Run,
    k: int,
    image: NDArray[np.float32],
    p: NDArray[np.float32] | None,
    strength: NDArray[np.float32],
    recorder: AttentionRecorder | None,
    output: NDArray[np.float32],
) -> None:
    """Add the network's change within the body, times strength (y, x), to `output` (y, x), a copy of `image`."""
    weight = body_weight(image)
    box = tiling.bounding_box(weight)
    if box is None:
        return
    if not run.network.tileable:
        box = tiling.Box(0, image.shape[0], 0, image.shape[1])
    clipped = np.clip(image, *CLIP_HU)
    maps: dict[Stage, Tensor] | None = None if recorder is None else {}
    denoised = run(tiling.pad((clipped - OFFSET_HU) / SCALE_HU, run.network), p, box, maps)
    change = denoised.cpu().numpy() * SCALE_HU + OFFSET_HU - clipped[box.slices]
    change *= weight[box.slices] * (image[box.slices] <= CLIP_HU[1])
    output[box.slices] += strength[box.slices] * change
    if recorder is not None and maps is not None and p is not None:
        inside = p if p.ndim == 1 else p[(slice(None), *box.slices)]
        p_inside = torch.from_numpy(np.ascontiguousarray(inside)).to(denoised.device)
        recorder.add(k, box, maps, p_inside, weight[box.slices] == 1)
