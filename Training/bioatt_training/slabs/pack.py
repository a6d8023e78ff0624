"""A data pack: slices with their neighbours, organ maps and noise statistics, in one file. Reading requires NumPy.

An .npz with the arrays of `Pack` and the slices' HU, quantised in steps of at most half the noise level and stored as
LZMA-compressed bytes of their differences along rows.
"""

from __future__ import annotations

import json
import lzma
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bioatt.core.errors import InputError
from bioatt.io.files import atomic_write

FORMAT = 3
LARGEST_RESPONSE = 0.75
"""Frequency in cycles per pixel up to which a kernel's response is stored."""
_FILTER = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 0, "lp": 0, "pb": 0}]


@dataclass(frozen=True)
class Pack:
    """S slices padded with air to one square size; K scans.

    hu: int16 (S, side, side). shape: (S, 2) rows and columns of each. scan: (S,) index of its scan. neighbours: int64
    (S, 2) indices of the slice below and above, -1 if there is none. levels: float16 (S, side/8, side/8), SD of the
    quarter-dose noise. directions: float16 (S, windows, windows, 12), the noise's local power by direction relative to
    the scan's. maps: uint8 (S, N, side/8, side/8), 255 times the organ maps. pooled: float32 (S, N). own_level,
    quarter_level: float32 (S,), noise levels in HU. noise: int8 (S, side, side), the inserted noise of a quarter dose
    in NOISE_STEP of `levels`; None in small packs. spectra: float32 (K, 64, 33). response: float32 (K, steps) of the
    kernels. step_mm, pixel_mm, correlation: float32 (K,). phantom, validation: bool (K,). descriptors: names.
    """

    hu: NDArray[np.int16]
    shape: NDArray[np.int64]
    scan: NDArray[np.int64]
    neighbours: NDArray[np.int64]
    levels: NDArray[np.float16]
    directions: NDArray[np.float16]
    maps: NDArray[np.uint8]
    pooled: NDArray[np.float32]
    own_level: NDArray[np.float32]
    quarter_level: NDArray[np.float32]
    spectra: NDArray[np.float32]
    response: NDArray[np.float32]
    step_mm: NDArray[np.float32]
    pixel_mm: NDArray[np.float32]
    correlation: NDArray[np.float32]
    phantom: NDArray[np.bool_]
    validation: NDArray[np.bool_]
    patients: tuple[str, ...]
    descriptors: tuple[str, ...]
    noise: NDArray[np.int8] | None = None


_PACKED = ("hu", "maps", "levels", "directions")
_NAMES = ("patients", "descriptors")
NOISE_STEP = 1 / 16


def write_pack(path: Path, pack: Pack) -> int:
    """Write a pack atomically; returns its size in bytes."""
    arrays: dict[str, Any] = {
        one.name: getattr(pack, one.name) for one in fields(Pack) if one.name not in (*_PACKED, *_NAMES, "noise")
    }
    if pack.noise is not None:
        arrays["noise"] = pack.noise
    header = {"format": FORMAT, "side": pack.hu.shape[1], **{name: getattr(pack, name) for name in _NAMES}}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    step = quantum(pack)
    arrays["hu_step"] = step
    cut = [image[:a, :b] for image, (a, b) in zip(pack.hu, pack.shape, strict=True)]
    folded = np.concatenate([_folded(image, one) for image, one in zip(cut, step, strict=True)])
    arrays["hu_low"], arrays["hu_high"] = (
        _compressed(folded.astype(np.uint8)),
        _compressed((folded >> 8).astype(np.uint8)),
    )
    for name in _PACKED[1:]:
        arrays[name] = _compressed(getattr(pack, name))
        arrays[f"{name}_shape"] = np.array(getattr(pack, name).shape)
    with atomic_write(path) as partial, partial.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)
    return path.stat().st_size


def read_pack(path: Path) -> Pack:
    """Read a pack. Raises InputError if the file is missing or of another kind."""
    try:
        with np.load(path) as file:
            arrays = dict(file)
        header = json.loads(arrays.pop("header").tobytes())
        if header["format"] != FORMAT:
            raise InputError(f"{path.name} has format {header['format']}, this version reads {FORMAT}: create it again")
        side = header["side"]
        low, high = (
            np.frombuffer(lzma.decompress(arrays.pop(f"hu_{part}").tobytes()), np.uint8) for part in ("low", "high")
        )
        steps, shapes = arrays.pop("hu_step"), arrays["shape"]
        hu = np.full((len(shapes), side, side), -1000, np.int16)
        first = 0
        for image, step, (rows, columns) in zip(hu, steps, shapes, strict=True):
            part = slice(first, first + rows * columns)
            folded = (low[part] | (high[part].astype(np.int32) << 8)).reshape(rows, columns)
            image[:rows, :columns] = np.where(folded & 1, -(folded + 1) // 2, folded // 2).cumsum(axis=1) * step
            first += rows * columns
        for name, kind in (("maps", np.uint8), ("levels", np.float16), ("directions", np.float16)):
            plain = np.frombuffer(lzma.decompress(arrays[name].tobytes()), kind)
            arrays[name] = plain.reshape(arrays.pop(f"{name}_shape"))
        names: dict[str, Any] = {name: tuple(header[name]) for name in _NAMES}
        return Pack(hu=hu, **names, **arrays)
    except OSError:
        raise InputError(f"pack {path.name} cannot be opened: create it with `bioatt-train network --pack`") from None
    except (KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile, lzma.LZMAError) as error:
        raise InputError(
            f"{path.name} is not a data pack, or is damaged ({type(error).__name__}): create it again"
        ) from None


def quantum(pack: Pack) -> NDArray[np.int32]:
    """(S,) quantisation step of a slice in HU: a power of two, at most half its noise level, 4 in torsos."""
    level = np.where(pack.phantom[pack.scan], 8.0, np.nan_to_num(pack.own_level, nan=2.0))
    step: NDArray[np.int32] = np.exp2(np.floor(np.log2(np.maximum(level / 2, 1)))).astype(np.int32)
    return step


def _folded(image: NDArray[np.int16], step: int) -> NDArray[np.uint16]:
    """Differences along the rows of HU in steps, their sign moved to the lowest bit; flat."""
    whole = np.rint(image / step).astype(np.int32)
    steps = np.diff(whole, axis=1, prepend=0)
    return np.where(steps < 0, -2 * steps - 1, 2 * steps).astype(np.uint16).ravel()


def _compressed(array: NDArray) -> NDArray[np.uint8]:
    return np.frombuffer(lzma.compress(array.tobytes(), filters=_FILTER), np.uint8)


def neighbour_table(
    scan: Sequence[int], z: Sequence[int], step_mm: Sequence[float], farthest_mm: float
) -> NDArray[np.int64]:
    """(S, 2) index of the slice below and above each slice of these scans, -1 if it is farther away."""
    place = {(k, int(number)): index for index, (k, number) in enumerate(zip(scan, z, strict=True))}
    near = [step <= farthest_mm + 1e-6 for step in step_mm]
    found = [
        [place.get((k, int(number) + offset), -1) if near[k] else -1 for offset in (-1, 1)]
        for k, number in zip(scan, z, strict=True)
    ]
    return np.array(found, np.int64).reshape(-1, 2)
