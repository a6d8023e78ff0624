"""A data pack: training slices, their priors and noise statistics, in one file of a few MB.

An .npz of `hu_low` and `hu_high` (bytes of the differences along rows, which compress better than the HU), `prior`
(slices, N), `levels` (SD of the quarter-dose noise in HU, float16, every `LEVEL_STEP` pixels), `spectra` (scans, 64,
33) (amplitude of that noise by frequency, unit variance), `directions` (its local power by direction, relative to the
scan's: streaks), the validation patches, and a JSON `header`. Reading requires only NumPy.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bioatt.core.errors import InputError
from bioatt.io.files import atomic_write
from bioatt_training.data.bank import Slice
from bioatt_training.data.noise_texture import (
    DIRECTIONS,
    LEVEL_STEP,
    SPECTRUM_SIDE,
    WINDOW_STEP,
)

FORMAT = 1


@dataclass(frozen=True)
class Pack:
    """Slices for training, and patches of held-out patients for validation.

    slices: as in the bank, offsets within the pack. hu: (y, x) int16 by slice. levels: (⌈y/8⌉, ⌈x/8⌉) by slice.
    spectrum_of: row of `spectra` by slice. directions: (windows along y, along x, 12) by slice, windows of 64² px half
    overlapping. validation: low and target (n, 55, 55) int16 HU, and p (n, N).
    header: descriptor set, descriptors, prior and identity of the bank.
    """

    header: dict[str, Any]
    slices: tuple[Slice, ...]
    hu: tuple[NDArray[np.int16], ...]
    prior: NDArray[np.float32]
    levels: tuple[NDArray[np.float32], ...]
    spectra: NDArray[np.float32]
    spectrum_of: NDArray[np.int64]
    directions: tuple[NDArray[np.float32], ...]
    validation: tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.float32]]

    @property
    def descriptors(self) -> tuple[str, ...]:
        """Names of the prior's columns."""
        return tuple(self.header["descriptors"])


def write_pack(path: Path, pack: Pack) -> int:
    """Write a pack atomically; returns its size in bytes."""
    low, high = (np.concatenate(planes) for planes in zip(*map(encoded, pack.hu), strict=True))
    header = {**pack.header, "format": FORMAT, "slices": [asdict(one) for one in pack.slices]}
    arrays: dict[str, Any] = {
        "header": np.frombuffer(json.dumps(header).encode(), np.uint8),
        "hu_low": low,
        "hu_high": high,
        "prior": pack.prior.astype(np.float32),
        "levels": np.concatenate([level.ravel() for level in pack.levels]).astype(np.float16),
        "directions": np.concatenate([share.ravel() for share in pack.directions]).astype(np.float16),
        "spectra": pack.spectra.astype(np.float16),
        "spectrum_of": pack.spectrum_of.astype(np.int64),
        **dict(zip(("validation_low", "validation_target", "validation_prior"), pack.validation, strict=True)),
    }
    with atomic_write(path) as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    return path.stat().st_size


def read_pack(path: Path) -> Pack:
    """Read a pack. Raises InputError if the file is missing, damaged or of another kind."""
    try:
        with np.load(path) as file:
            arrays = dict(file)
        header = json.loads(arrays["header"].tobytes())
        if header["format"] != FORMAT:
            raise InputError(f"{path.name} has format {header['format']}, this version reads {FORMAT}: create it again")
        slices = tuple(Slice(**{**line, "shape": tuple(line["shape"])}) for line in header.pop("slices"))
        hu = tuple(_decoded(arrays["hu_low"], arrays["hu_high"], one) for one in slices)
        levels = _cut(arrays["levels"].astype(np.float32), [level_shape(one.shape) for one in slices])
        directions = _cut(arrays["directions"].astype(np.float32), [window_shape(one.shape) for one in slices])
        validation = tuple(arrays[f"validation_{name}"] for name in ("low", "target", "prior"))
    except OSError:
        raise InputError(f"pack {path.name} cannot be opened: create it with `bioatt-train prepare --pack`") from None
    except (KeyError, TypeError, ValueError, zipfile.BadZipFile, EOFError):
        raise InputError(
            f"{path.name} is not a data pack, or is damaged: create it with `bioatt-train prepare --pack`"
        ) from None
    spectra = arrays["spectra"].astype(np.float32)
    low, target, p = validation
    noise = (levels, spectra, arrays["spectrum_of"], directions)
    return Pack(header, slices, hu, arrays["prior"], *noise, (low, target, p))


def level_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Shape of a slice's noise levels."""
    return -(-shape[0] // LEVEL_STEP), -(-shape[1] // LEVEL_STEP)


def window_shape(shape: tuple[int, int]) -> tuple[int, int, int]:
    """Shape of a slice's power by direction."""
    rows, columns = ((length - SPECTRUM_SIDE) // WINDOW_STEP + 1 for length in shape)
    return rows, columns, DIRECTIONS


def encoded(hu: NDArray[np.int16]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Low and high bytes of the differences along the rows of (y, x), their sign moved to the lowest bit; flat."""
    steps = np.diff(hu.astype(np.int32), axis=1, prepend=0)
    folded = np.where(steps < 0, -2 * steps - 1, 2 * steps).astype(np.uint16).ravel()
    return (folded & 255).astype(np.uint8), (folded >> 8).astype(np.uint8)


def _decoded(low: NDArray[np.uint8], high: NDArray[np.uint8], one: Slice) -> NDArray[np.int16]:
    part = slice(one.offset, one.offset + one.shape[0] * one.shape[1])
    folded = (low[part] | (high[part].astype(np.int32) << 8)).reshape(one.shape)
    steps = np.where(folded & 1, -(folded + 1) // 2, folded // 2)
    return steps.cumsum(axis=1).astype(np.int16)


def _cut(flat: NDArray[np.float32], shapes: Sequence[tuple[int, ...]]) -> tuple[NDArray[np.float32], ...]:
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    return tuple(part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True))
