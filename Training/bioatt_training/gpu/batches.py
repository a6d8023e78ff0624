"""Batches drawn on the device from a data pack, with new position, rotation, dose and noise each time.

Noise is white noise shaped by the spectrum of the scan's kernel and the directional weights around the patch, times the
local quarter-dose level and √((1/a − 1) / 3) for dose fraction a (see `bioatt_training.data.bank`). Nothing is copied
from the host after the start. On a given kind of device, a batch depends only on seed and number.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from bioatt.core.errors import InputError
from bioatt.core.hu import AIR_HU, CLIP_HU, OFFSET_HU, SCALE_HU
from bioatt_training.data.bank import BODY_HU, DOSE
from bioatt_training.data.noise_texture import DIRECTIONS, LEVEL_STEP, WINDOW_STEP, direction_of
from bioatt_training.fit.config import DataConfig
from bioatt_training.gpu.pack import Pack

GRID = 8
"""Grid spacing in pixels at which patch positions are checked for tissue; the offset within a cell is random."""
WRAP_PX = 9
"""Extra pixels of the periodic noise grid, so that opposite borders of a patch are not correlated."""

Batch = tuple[Tensor, Tensor, Tensor]
"""Low dose and target (B, 1, H, W), standardised HU, and the prior p (B, N)."""


class Batches:
    """Batches of a pack. A patient's weight is the square root of its number of slices.

    config: uses patch, batch, doses and sampling ("random", or "whole": slices padded with air to one square size).
    Raises InputError if no slice is as large as a patch.
    """

    def __init__(self, pack: Pack, config: DataConfig, seed: int, device: torch.device) -> None:
        self.batch, self.doses, self.seed = config.batch, config.doses, seed
        side = max(max(image.shape) for image in pack.hu)
        side += -side % LEVEL_STEP
        self.size = side if config.sampling == "whole" else config.patch
        places, weights = _places(pack, self.size, whole=config.sampling == "whole")
        self.places = torch.from_numpy(places).to(device)
        self.cumulative = torch.from_numpy(np.cumsum(weights)).to(device)
        hu = [_square(image, side, mode="constant", constant_values=int(AIR_HU)) for image in pack.hu]
        self.hu = torch.from_numpy(np.stack(hu)).to(device)
        coarse = np.stack([_square(level, side // LEVEL_STEP, mode="edge") for level in pack.levels])
        levels = functional.interpolate(
            torch.from_numpy(coarse)[:, None].to(device), scale_factor=LEVEL_STEP, mode="bilinear"
        )
        self.levels = levels[:, 0].half()
        self.prior = torch.from_numpy(pack.prior).to(device)
        field = self.size + WRAP_PX
        self.field = field + -field % 64
        self.amplitudes = amplitudes(torch.from_numpy(pack.spectra).to(device), self.field)
        self.spectrum_of = torch.from_numpy(pack.spectrum_of).to(device)
        self.directions = None if config.sampling == "whole" else Directions(pack, self.field, device)
        self._random = torch.Generator(device)

    def draw(self, number: int) -> Batch:
        """Batch `number`."""
        self._random.manual_seed(seed_of(self.seed, number))
        uniform = self._uniform(3)
        chosen = torch.searchsorted(self.cumulative, uniform[0].double() * self.cumulative[-1])
        index, y, x, last_y, last_x = self.places[chosen.clamp_max(len(self.places) - 1)].unbind(1)
        y, x = (
            torch.minimum(start + (part * GRID).long(), last)
            for start, part, last in ((y, uniform[1], last_y), (x, uniform[2], last_x))
        )
        rows, columns = self._turned()
        flat = index[:, None, None] * self.hu[0].numel() + (y[:, None, None] + rows) * self.hu.shape[2]
        flat = flat + x[:, None, None] + columns
        target = self.hu.view(-1)[flat].float()
        amplitudes = self.amplitudes[self.spectrum_of[index]]
        if self.directions is not None:
            amplitudes = amplitudes * self.directions(index, y + self.size // 2, x + self.size // 2)
        noise = self._noise(amplitudes, rows, columns) * self.levels.view(-1)[flat] * self._scale()[:, None, None]
        low = (target + noise).clamp(*CLIP_HU)
        standardised = ((image[:, None] - OFFSET_HU) / SCALE_HU for image in (low, target))
        return next(standardised), next(standardised), self.prior[index]

    def _uniform(self, rows: int) -> Tensor:
        return torch.rand((rows, self.batch), generator=self._random, device=self.hu.device)

    def _turned(self) -> tuple[Tensor, Tensor]:
        """Row and column (B, H, W) of each pixel within its patch, with random quarter turns and mirroring."""
        swap, up, left = (self._uniform(3) < 0.5)[:, :, None, None]
        along = torch.arange(self.size, device=self.hu.device)
        down, right = along[:, None].expand(self.size, self.size), along.expand(self.size, self.size)
        rows, columns = torch.where(swap, right, down), torch.where(swap, down, right)
        end = self.size - 1
        return torch.where(up, end - rows, rows), torch.where(left, end - columns, columns)

    def _noise(self, amplitudes: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Noise of unit variance with these spectra (B, F, F // 2 + 1), rotated with its patch."""
        white = torch.randn((self.batch, self.field, self.field), generator=self._random, device=self.hu.device)
        field = torch.fft.irfft2(torch.fft.rfft2(white) * amplitudes, s=white.shape[1:])
        number = torch.arange(self.batch, device=self.hu.device)[:, None, None]
        return field[number, rows, columns]

    def _scale(self) -> Tensor:
        """Noise relative to quarter dose, for doses drawn uniformly on a log scale (B,)."""
        low, high = (math.log(dose) for dose in self.doses)
        dose = torch.exp(low + (high - low) * self._uniform(1)[0])
        return torch.sqrt((1 / dose - 1) / (1 / DOSE - 1))


class Directions:
    """Amplitude factors of a spectrum by direction, from the window around a position; 1 in the power mean."""

    def __init__(self, pack: Pack, field: int, device: torch.device) -> None:
        rows, columns = (max(share.shape[axis] for share in pack.directions) for axis in (0, 1))
        shares = [
            np.pad(share, [(0, rows - share.shape[0]), (0, columns - share.shape[1]), (0, 0)], mode="edge")
            for share in pack.directions
        ]
        self.shares = torch.from_numpy(np.stack(shares)).to(device)
        place = torch.from_numpy(direction_of((field, field))).to(device)
        self.lower = place.floor().long() % DIRECTIONS
        self.part = (place - place.floor()).float()

    def __call__(self, index: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """Factors (B, F, F // 2 + 1) for slices `index` around (y, x)."""
        row, column = (
            ((centre - WINDOW_STEP // 2) // WINDOW_STEP).clamp(0, count - 1)
            for centre, count in ((y, self.shares.shape[1]), (x, self.shares.shape[2]))
        )
        share = self.shares[index, row, column]
        between = share[:, self.lower] * (1 - self.part) + share[:, (self.lower + 1) % DIRECTIONS] * self.part
        return between.sqrt()


def seed_of(seed: int, number: int) -> int:
    """A seed for each batch of each run; PyTorch's CPU generator uses only the lower half of 64 bits."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0])


def _places(pack: Pack, size: int, *, whole: bool) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Slice, first row and column on a coarse grid, and the largest valid ones, of patches in the body; their
    weights.
    """
    patients = Counter(one.patient for one in pack.slices)
    places, weights = [], []
    for index, (one, image) in enumerate(zip(pack.slices, pack.hu, strict=True)):
        height, width = image.shape
        if whole:
            found = np.zeros((1, 2), np.int64)
        elif min(height, width) < size:
            continue
        else:
            half = size // 2
            centres = image[half : height - size + half + 1 : GRID, half : width - size + half + 1 : GRID]
            found = np.argwhere(centres > BODY_HU) * GRID
        if not len(found):
            continue
        last = (0, 0) if whole else (height - size, width - size)
        places += [(index, y, x, *last) for y, x in found.tolist()]
        weights += [1 / (np.sqrt(patients[one.patient]) * len(found))] * len(found)
    if not places:
        raise InputError(f"the pack has no tissue in slices of {size} px or more: use smaller patches")
    return np.array(places, np.int64), np.array(weights)


def _square(image: NDArray, side: int, **mode: Any) -> NDArray:
    return np.pad(image, [(0, side - length) for length in image.shape], **mode)


def amplitudes(spectra: Tensor, side: int) -> Tensor:
    """Amplitudes (K, 64, 33) on the frequencies of a larger grid (K, side, side // 2 + 1): same covariance by lag."""
    covariance = torch.fft.irfft2(spectra**2)
    known = covariance.shape[-1]
    if side < known:
        raise ValueError(f"a field of {side} px is smaller than the spectra's {known}")
    lags = torch.arange(-known // 2, known // 2, device=spectra.device)
    larger = covariance.new_zeros(len(spectra), side, side)
    larger[:, lags[:, None] % side, lags % side] = covariance[:, lags[:, None] % known, lags % known]
    return torch.fft.rfft2(larger).real.clamp_min(0).sqrt()
