"""From a bank to a data pack: takes slices evenly from all scans until the file is full, and describes their noise."""

from __future__ import annotations

import zlib
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from bioatt.core.errors import InputError
from bioatt.core.hu import OFFSET_HU, SCALE_HU
from bioatt_training.data.bank import Bank
from bioatt_training.data.noise_texture import (
    SPECTRUM_SIDE,
    coarse_level,
    direction_shares,
    local_level,
    periodograms,
)
from bioatt_training.fit.config import GRID_PATCH, DataConfig
from bioatt_training.fit.patches import PatchDataset
from bioatt_training.gpu.pack import Pack, encoded, write_pack

VALIDATION_PATCHES = 256
SLICE_OVERHEAD = 8 << 10
"""Bytes of a slice's levels, prior and description, at most."""
RESERVED = VALIDATION_PATCHES * GRID_PATCH**2 * 3
"""Bytes of the validation patches, at most."""


def pack_bank(bank_folder: Path, path: Path, mib: float) -> tuple[int, int]:
    """Write a pack of at most `mib` MiB; returns its slices and its bytes.

    Raises InputError if the bank has no training or validation slices, or not a single slice fits.
    """
    bank = Bank(bank_folder)
    if bank.header.get("target", "scan") != "scan":
        raise InputError("the bank's targets are softened: a pack needs the scans themselves, create another bank")
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
    """Training slices of patients, ordered so that every prefix is spread evenly over the scans and along each scan."""
    by_source: dict[str, list[int]] = defaultdict(list)
    for index in bank.indices("train"):
        if min(bank.slices[index].shape) >= SPECTRUM_SIDE:
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
    levels = [local_level(bank.pair(index)[1]) for index in chosen]
    sources = list(dict.fromkeys(one.source for one in slices))
    spectra: list[NDArray[np.float32]] = []
    directions: dict[int, NDArray[np.float32]] = {}
    for source in sources:
        of_scan = [k for k, one in enumerate(slices) if one.source == source]
        power = [periodograms(np.float32(bank.pair(chosen[k])[1]) / levels[k]) for k in of_scan]
        total = sum(part.sum(axis=(0, 1)) for part in power)
        spectra.append(np.sqrt(total / fft.irfft2(total)[0, 0]).astype(np.float32))
        directions |= {k: direction_shares(part, total) for k, part in zip(of_scan, power, strict=True)}
    header = {key: bank.header[key] for key in ("descriptor_set", "descriptors", "prior", "dose_fraction")}
    return Pack(
        header={**header, "bank": bank.identity},
        slices=tuple(slices),
        hu=tuple(np.asarray(bank.pair(index)[0]) for index in chosen),
        prior=bank.prior[chosen],
        levels=tuple(coarse_level(level) for level in levels),
        spectra=np.stack(spectra),
        spectrum_of=np.array([sources.index(one.source) for one in slices]),
        directions=tuple(directions[k] for k in range(len(slices))),
        validation=_validation(bank, folder),
    )


def _validation(bank: Bank, folder: Path) -> tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.float32]]:
    """Low dose, target and prior of patches of held-out patients, with the bank's own noise."""
    config = DataConfig(bank=str(folder), patch=GRID_PATCH)
    patches = PatchDataset(bank, config, "validation", VALIDATION_PATCHES, 0)
    low, target, p = (np.stack(images) for images in zip(*map(patches.__getitem__, range(len(patches))), strict=True))
    in_hu = (np.rint(image[:, 0] * SCALE_HU + OFFSET_HU).astype(np.int16) for image in (low, target))
    return next(in_hu), next(in_hu), p
