"""From a bank to a data pack: slices taken evenly from all scans until the file is full, and their noise described."""

from __future__ import annotations

import zlib
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import fft, ndimage

from bioatt.core.errors import InputError
from bioatt.core.hu import OFFSET_HU, SCALE_HU
from bioatt_training.data.bank import Bank
from bioatt_training.fit.config import GRID_PATCH, DataConfig
from bioatt_training.fit.patches import PatchDataset
from bioatt_training.gpu.pack import (
    DIRECTIONS,
    LEVEL_STEP,
    SPECTRUM_SIDE,
    WINDOW_STEP,
    Pack,
    direction_of,
    encoded,
    write_pack,
)

LEVEL_SIGMA_PX = 10.0
VALIDATION_PATCHES = 256
LOWEST_LEVEL_HU = 0.5
SLICE_OVERHEAD = 8 << 10
"""Bytes of a slice's levels, prior and description, at most."""
RESERVED = VALIDATION_PATCHES * GRID_PATCH**2 * 3
"""Bytes of the validation patches, at most."""


def pack_bank(bank_folder: Path, path: Path, mib: float) -> tuple[int, int]:
    """Write a pack of at most `mib` MiB; returns its slices and its bytes.

    Training slices with the scan's own kernel, none of phantoms. Raises InputError where the bank has no training or
    validation slices, or not one slice fits.
    """
    bank = Bank(bank_folder)
    if bank.header.get("target", "scan") != "scan":
        raise InputError("the bank's targets are softened: a pack needs the scans themselves, make another bank")
    limit = int(mib * 2**20) - RESERVED
    chosen = []
    for index in _spread(bank):
        hu, _ = bank.pair(index)
        limit -= sum(len(zlib.compress(plane.tobytes())) for plane in encoded(hu)) + SLICE_OVERHEAD
        if limit < 0:
            break
        chosen.append(index)
    if not chosen:
        raise InputError(f"no slice fits into {mib:g} MiB, or the bank has no training slices: allow a larger pack")
    return len(chosen), write_pack(path, _pack(bank, bank_folder, sorted(chosen)))


def _spread(bank: Bank) -> list[int]:
    """Training slices of patients in an order whose every beginning is spread over the scans, and along each."""
    by_source: dict[str, list[int]] = defaultdict(list)
    for index in bank.own_kernel_indices("train"):
        if not bank.slices[index].is_phantom and min(bank.slices[index].shape) >= SPECTRUM_SIDE:
            by_source[bank.slices[index].source].append(index)
    halving = {source: [members[k] for k in _halving(len(members))] for source, members in by_source.items()}
    rounds = max((len(members) for members in halving.values()), default=0)
    return [members[k] for k in range(rounds) for members in halving.values() if k < len(members)]


def _halving(count: int) -> list[int]:
    """0 … count − 1 in the order of van der Corput's sequence: each new one falls into the largest gap."""
    bits = max(count - 1, 1).bit_length()
    reversed_bits = [int(f"{k:0{bits}b}"[::-1], 2) for k in range(2**bits)]
    return [k for k in reversed_bits if k < count]


def _pack(bank: Bank, folder: Path, chosen: list[int]) -> Pack:
    offset, slices = 0, []
    for index in chosen:
        slices.append(replace(bank.slices[index], offset=offset))
        offset += int(np.prod(bank.slices[index].shape))
    levels = [_level(bank.pair(index)[1]) for index in chosen]
    sources = list(dict.fromkeys(one.source for one in slices))
    spectra: list[NDArray[np.float32]] = []
    directions: dict[int, NDArray[np.float32]] = {}
    for source in sources:
        of_scan = [k for k, one in enumerate(slices) if one.source == source]
        power = [_periodograms(np.float32(bank.pair(chosen[k])[1]) / levels[k]) for k in of_scan]
        total = sum(part.sum(axis=(0, 1)) for part in power)
        spectra.append(np.sqrt(total / fft.irfft2(total)[0, 0]).astype(np.float32))
        directions |= {k: _directions(part, total) for k, part in zip(of_scan, power, strict=True)}
    header = {key: bank.header[key] for key in ("descriptor_set", "descriptors", "prior", "dose_fraction")}
    return Pack(
        header={**header, "bank": bank.identity},
        slices=tuple(slices),
        hu=tuple(np.asarray(bank.pair(index)[0]) for index in chosen),
        prior=bank.prior[chosen],
        levels=tuple(_coarse(level) for level in levels),
        spectra=np.stack(spectra),
        spectrum_of=np.array([sources.index(one.source) for one in slices]),
        directions=tuple(directions[k] for k in range(len(slices))),
        validation=_validation(bank, folder),
    )


def _level(noise: NDArray[np.int16]) -> NDArray[np.float32]:
    """Local standard deviation of a slice's noise (y, x), smooth over 2 cm or so, in HU."""
    variance = ndimage.gaussian_filter(noise.astype(np.float32) ** 2, LEVEL_SIGMA_PX)
    return np.sqrt(np.maximum(variance, LOWEST_LEVEL_HU**2))


def _coarse(level: NDArray[np.float32]) -> NDArray[np.float32]:
    """Every `LEVEL_STEP`-th value, in the middle of its step; the last steps are completed."""
    whole = np.pad(level, [(0, -length % LEVEL_STEP) for length in level.shape], mode="edge")
    return whole[LEVEL_STEP // 2 :: LEVEL_STEP, LEVEL_STEP // 2 :: LEVEL_STEP]


def _periodograms(noise: NDArray[np.float32]) -> NDArray[np.float32]:
    """Power by frequency of noise (y, x) in windows of 64² (rows, columns, 64, 33), under a Hann taper."""
    taper = np.outer(*[np.hanning(SPECTRUM_SIDE + 2)[1:-1]] * 2).astype(np.float32)
    windows = sliding_window_view(noise, (SPECTRUM_SIDE, SPECTRUM_SIDE))[::WINDOW_STEP, ::WINDOW_STEP]
    centred = windows - windows.mean(axis=(2, 3), keepdims=True)
    return np.abs(fft.rfft2(centred * taper)).astype(np.float32) ** 2


def _directions(power: NDArray[np.float32], total: NDArray[np.float32]) -> NDArray[np.float32]:
    """Power by direction of 3 × 3 windows as a share of the scan's (rows, columns, 12); its mean by power is 1."""
    sector = np.rint(direction_of((SPECTRUM_SIDE, SPECTRUM_SIDE))).astype(int) % DIRECTIONS
    in_sector = (np.arange(DIRECTIONS)[:, None, None] == sector).reshape(DIRECTIONS, -1)
    found = ndimage.uniform_filter(power, (3, 3, 1, 1), mode="nearest").reshape(*power.shape[:2], -1) @ in_sector.T
    known = in_sector @ total.ravel()
    return (found / known * (known.sum() / found.sum(axis=2, keepdims=True))).astype(np.float32)


def _validation(bank: Bank, folder: Path) -> tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.float32]]:
    """Low dose, target and prior of patches of left-out patients, with the bank's own noise."""
    config = DataConfig(bank=str(folder), patch=GRID_PATCH, phantom_share=0.0)
    patches = PatchDataset(bank, config, "validation", VALIDATION_PATCHES, 0)
    low, target, p = (np.stack(images) for images in zip(*map(patches.__getitem__, range(len(patches))), strict=True))
    in_hu = (np.rint(image[:, 0] * SCALE_HU + OFFSET_HU).astype(np.int16) for image in (low, target))
    return next(in_hu), next(in_hu), p
