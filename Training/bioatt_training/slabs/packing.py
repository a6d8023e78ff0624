"""Convert stacks of slices to a data pack: noise by level, spectrum and direction, organ maps by cell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft

from bioatt.anatomy.descriptors import DescriptorSet
from bioatt.core.volume import Volume
from bioatt.priors.organ_maps import OrganMapPrior
from bioatt_training.data.noise_texture import (
    LEVEL_STEP,
    SPECTRUM_SIDE,
    WINDOW_STEP,
    coarse_level,
    direction_shares,
    local_level,
    periodograms,
)
from bioatt_training.slabs.batches import fine_levels
from bioatt_training.slabs.pack import NOISE_STEP, Pack, neighbour_table, write_pack
from bioatt_training.slabs.stacks import FARTHEST_MM, Stack, kept


def make_pack(
    stacks: Sequence[Path], path: Path, descriptors: DescriptorSet, organ_maps: Path, *, noise: bool = True
) -> int:
    """Write the pack of these stacks; returns its size in bytes. organ_maps: weights of the organ-map network. noise:
    include the noise itself, four fifths of the size.
    """
    return write_pack(path, _pack([kept(one) for one in stacks], descriptors, organ_maps, noise))


def _pack(stacks: Sequence[Stack], descriptors: DescriptorSet, organ_maps: Path, with_noise: bool) -> Pack:
    prior = OrganMapPrior(descriptors, path=organ_maps)
    side = max(max(stack.hu.shape[1:]) for stack in stacks)
    side += -side % SPECTRUM_SIDE
    scan = np.concatenate([np.full(len(stack.z), k) for k, stack in enumerate(stacks)])
    z = np.concatenate([stack.z for stack in stacks])
    levels, directions, spectra, maps, pooled = [], [], [], [], []
    inserted: list[NDArray[np.int8]] = []
    for stack in stacks:
        level = [local_level(noise) for noise in stack.noise]
        power = [periodograms(noise.astype(np.float32) / one) for noise, one in zip(stack.noise, level, strict=True)]
        total = np.sum([part.sum(axis=(0, 1)) for part in power], axis=0)
        spectra.append(np.sqrt(total / fft.irfft2(total)[0, 0]).astype(np.float32))
        directions += [_square(direction_shares(part, total), side // WINDOW_STEP - 1, "edge") for part in power]
        coarse = [_square(coarse_level(one), side // LEVEL_STEP, "edge") for one in level]
        levels += coarse
        if with_noise:
            inserted += [_in_levels(noise, one, side) for noise, one in zip(stack.noise, coarse, strict=True)]
        seen, shares = organ_cells(stack, prior)
        maps += [_square(np.moveaxis(one, 0, -1), side // LEVEL_STEP, "constant") for one in seen]
        pooled.append(shares)
    return Pack(
        hu=np.stack([_square(hu, side, "constant", -1000) for stack in stacks for hu in stack.hu]),
        shape=np.concatenate([np.tile(stack.hu.shape[1:], (len(stack.z), 1)) for stack in stacks]),
        scan=scan,
        neighbours=neighbour_table(scan.tolist(), z.tolist(), [stack.step_mm for stack in stacks], FARTHEST_MM),
        levels=np.stack(levels).astype(np.float16),
        directions=np.stack(directions).astype(np.float16),
        maps=np.moveaxis(np.stack(maps), -1, 1),
        pooled=np.concatenate(pooled).astype(np.float32),
        own_level=np.concatenate([stack.own_level for stack in stacks]).astype(np.float32),
        quarter_level=np.concatenate([stack.quarter_level for stack in stacks]).astype(np.float32),
        spectra=np.stack(spectra),
        response=np.stack([stack.response for stack in stacks]),
        step_mm=np.array([stack.step_mm for stack in stacks], np.float32),
        pixel_mm=np.array([stack.pixel_mm for stack in stacks], np.float32),
        correlation=np.array([stack.correlation for stack in stacks], np.float32),
        phantom=np.array([stack.phantom for stack in stacks]),
        validation=np.array([stack.part == "validation" for stack in stacks]),
        patients=tuple(stack.patient for stack in stacks),
        descriptors=descriptors.descriptors,
        noise=np.stack(inserted) if inserted else None,
    )


def _in_levels(noise: NDArray[np.int16], level: NDArray, side: int) -> NDArray[np.int8]:
    """Noise (y, x) in units of NOISE_STEP times its level, interpolated from cells like in `Batches`."""
    fine = fine_levels(torch.from_numpy(level.astype(np.float16))[None])[0].numpy()
    steps = _square(noise, side, "constant") / (NOISE_STEP * fine)
    return np.clip(np.rint(steps), -127, 127).astype(np.int8)


def organ_cells(stack: Stack, prior: OrganMapPrior) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Organ maps of a stack's quarter-dose slices as 255 times the mean over 8×8 px (n, N, rows, columns); pooled p."""
    low = np.clip(stack.hu + stack.noise.astype(np.float32), -1024, 3071)
    volume = Volume(low, (stack.pixel_mm, stack.pixel_mm, stack.step_mm))
    found = prior.maps(volume)
    cells = []
    for k in range(len(low)):
        p = found.probabilities(k)[1:]
        padded = np.pad(p, [(0, 0), *((0, -length % LEVEL_STEP) for length in p.shape[1:])])
        blocks = padded.reshape(len(p), padded.shape[1] // LEVEL_STEP, LEVEL_STEP, -1, LEVEL_STEP)
        cells.append(np.rint(255 * blocks.mean(axis=(2, 4))).astype(np.uint8))
    return np.stack(cells), found.pooled()


def _square(array: NDArray, side: int, mode: str, value: float = 0) -> NDArray:
    """Crop or pad the first two axes to `side`."""
    cut = array[:side, :side]
    width = [(0, side - cut.shape[0]), (0, side - cut.shape[1]), *((0, 0) for _ in cut.shape[2:])]
    if mode == "edge":
        return np.pad(cut, width, mode="edge")
    return np.pad(cut, width, mode="constant", constant_values=value)
