"""Batches drawn on a device from a data pack, with random position, rotation, dose, noise, kernel, inserts and priors.

Nothing is copied from the host after the start, so that a GPU never waits. On a given kind of device, a batch depends
only on seed and number.

In a fraction of the patches, noise is the scan's inserted quarter-dose noise if the pack contains it; otherwise it is
white noise shaped by the scan's spectrum and the directional weights around the patch, times the local quarter-dose
level. For dose fraction a of a scan, it is scaled by √((1/a − 1) / 3), and the target is the scan minus a / (1 − a)
times the noise, whose mean is the noise-free tissue (Noisier2Noise, Moran 2020, arXiv 1910.11908). A torso's target is
its noise-free scan; with `Drawing.opposite`, its patches come in pairs that differ only in the sign of the noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bioatt.core.hu import CLIP_HU, OFFSET_HU, SCALE_HU
from bioatt.network.slab_unet import NEIGHBOURS, NOISE_UNIT_HU, nearness
from bioatt_training.data.noise_texture import DIRECTIONS, LEVEL_STEP, SPECTRUM_SIDE, WINDOW_STEP, direction_of
from bioatt_training.gpu.batches import amplitudes
from bioatt_training.slabs.pack import LARGEST_RESPONSE, NOISE_STEP, Pack
from bioatt_training.slabs.priors import CHANCES, draw_priors

BODY_HU = -600
GRID = 8
FIELD_MARGIN_PX = 16
"""Extra pixels of the periodic noise grid, so that opposite borders of a patch are not correlated."""


@dataclass(frozen=True)
class Drawing:
    """How batches are drawn. phantoms: torso patches per batch; opposite: in pairs, and then an even number. slabs:
    fraction of the scans' patches that have neighbours. doses: dose fractions, drawn uniformly on a log scale.
    inserted: fraction of patches with the pack's own noise, if available.
    """

    patch: int = 128
    batch: int = 10
    phantoms: int = 4
    slabs: float = 0.35
    doses: tuple[float, float] = (0.05, 0.85)
    opposite: bool = True
    inserted: float = 0.5
    inserts: float = 0.5
    kernels: float = 0.5
    alone: float = 0.3
    one_sided: float = 0.2
    seed: int = 1


class Batch(NamedTuple):
    """x (B, 6, H, W), the input of `SlabUNet`; target (B, 1, H, W), standardised; p (B, N, H/8, W/8); maps, the organ
    maps on the same cells.
    """

    x: Tensor
    target: Tensor
    p: Tensor
    maps: Tensor


class Batches:
    """Batches of the training or validation slices of a pack on a device."""

    def __init__(self, pack: Pack, drawing: Drawing, device: torch.device, *, validation: bool = False) -> None:
        self.drawing, self.device = drawing, device
        self.phantoms = 0 if validation else drawing.phantoms
        put = lambda array: torch.from_numpy(np.array(array)).to(device)  # noqa: E731
        self.hu, self.maps, self.pooled = put(pack.hu), put(pack.maps), put(pack.pooled)
        self.neighbours, self.scan = put(pack.neighbours), put(pack.scan)
        self.levels = fine_levels(put(pack.levels)).half()
        self.inserted = None if pack.noise is None else put(pack.noise)
        self.own, self.quarter = (put(np.nan_to_num(level)) for level in (pack.own_level, pack.quarter_level))
        self.step_mm, self.pixel_mm = put(pack.step_mm), put(pack.pixel_mm)
        self.correlation = put(pack.correlation)
        self.field = drawing.patch + FIELD_MARGIN_PX
        spectra = put(pack.spectra)
        self.spectra = spectra
        self.amplitudes = amplitudes(spectra, self.field)
        self.responses = _responses(put(pack.response), drawing.patch)
        self.frequency = _radius(drawing.patch, device)
        self.frequency_64 = _radius(SPECTRUM_SIDE, device)
        self.directions = put(pack.directions.astype(np.float32))
        place = put(direction_of((self.field, self.field)))
        self.lower, self.part = place.floor().long() % DIRECTIONS, (place - place.floor()).float()
        self.pools = [put_pool.to(device) for put_pool in _pools(pack, drawing, validation)]
        self.above = torch.tensor([False, True], device=device)
        self.chances = put(np.cumsum(CHANCES)[:-1])
        self.random = torch.Generator(device)

    def seed(self, number: int) -> None:
        """Make the next draw batch `number`."""
        state = np.random.SeedSequence([self.drawing.seed, number]).generate_state(1, np.uint64)
        self.random.manual_seed(int(state[0]) >> 1)

    def draw(self) -> Batch:
        """The next batch. Reads nothing from the host and never synchronises, so that a GPU can replay it."""
        d = self.drawing
        self.pair = _pairs(d.batch, self.phantoms if d.opposite else 0, self.device)
        index, y, x = self._places()
        place = torch.arange(d.batch, device=self.device)
        scan, phantom = self.scan[index], place < self.phantoms
        rows, columns = self._turned()
        mirrored = self._chance(0.5)
        seen, near = self._neighbours(index, scan, mirrored)
        side = self.hu.shape[-1]
        flat = (y[:, None, None] + rows) * side + x[:, None, None] + columns
        flat = seen[:, :, None, None] * side**2 + flat[:, None]
        full = self.hu.view(-1)[flat].float()
        level = self.levels.view(-1)[flat].float()
        dose = torch.exp(self._uniform(math.log(d.doses[0]), math.log(d.doses[1])))
        scale = torch.where(phantom, (4 * dose) ** -0.5, ((1 / dose - 1) / 3).sqrt())
        sign = 1 - 2 * (phantom & (place % 2 == 1)).float()
        noise = self._noise(index, scan, y, x, rows, columns, flat, phantom) * level
        noise = noise * (scale * sign)[:, None, None, None]
        kept = (~phantom * dose / (1 - dose))[:, None, None]
        target = full[:, 0] - noise[:, 0] * kept
        low = full + noise
        inserts = self._inserts(target, scan, near)
        low, target, gain = self._refiltered(low, target, inserts, scan)
        low, target = low.clamp(*CLIP_HU), target.clamp(CLIP_HU[0] - 400, CLIP_HU[1] + 400)
        level_hu = self._noise_level(index, phantom, dose, scale, gain)
        maps = self._cells(index, y, x, rows, columns)
        p = draw_priors(maps, self.pooled[index], self._strangers(maps), self.chances, self.random)
        planes = torch.cat([level_hu[:, None] / NOISE_UNIT_HU, near], dim=1)[:, :, None, None]
        images = (low - OFFSET_HU) / SCALE_HU
        network_input = torch.cat([images, planes.expand(-1, -1, *images.shape[2:])], dim=1)
        return Batch(network_input, (target[:, None] - OFFSET_HU) / SCALE_HU, p, maps)

    def _rand(self, *shape: int) -> Tensor:
        """Uniform draws (B, *shape), the same for both patches of a pair."""
        return torch.rand((self.drawing.batch, *shape), generator=self.random, device=self.device)[self.pair]

    def _randn(self, *shape: int) -> Tensor:
        return torch.randn((self.drawing.batch, *shape), generator=self.random, device=self.device)[self.pair]

    def _uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * self._rand(*shape)

    def _chance(self, share: float, *shape: int) -> Tensor:
        return self._rand(*shape) < share

    def _places(self) -> tuple[Tensor, Tensor, Tensor]:
        """Slice, first row and first column of each patch (B,)."""
        phantom_places, slab_places, single_places = self.pools
        from_slab = self._chance(self.drawing.slabs) & (len(slab_places) > 0)
        uniform = self._rand()
        chosen = torch.where(from_slab[:, None], _picked(slab_places, uniform), _picked(single_places, uniform))
        if self.phantoms:
            chosen[: self.phantoms] = _picked(phantom_places, uniform)[: self.phantoms]
        index, y, x, last_y, last_x = chosen.unbind(1)
        moved = (self._rand(2) * GRID).long()
        return index, torch.minimum(y + moved[:, 0], last_y), torch.minimum(x + moved[:, 1], last_x)

    def _turned(self) -> tuple[Tensor, Tensor]:
        """Row and column (B, H, W) of each pixel within its patch, with random quarter turns and mirroring."""
        swap, up, left = self._chance(0.5, 3).T[:, :, None, None]
        size = self.drawing.patch
        self.turn = (swap, up, left)
        return turned(size, swap, up, left)

    def _neighbours(self, index: Tensor, scan: Tensor, mirrored: Tensor) -> tuple[Tensor, Tensor]:
        """Indices (B, 3) of the slice and its neighbours (the slice itself if missing), and nearness (B, 2)."""
        table = self.neighbours[index]
        table = torch.where(mirrored[:, None], table.flip(1), table)
        d = self.drawing
        kind = self._rand()
        one_sided = (kind >= d.alone) & (kind < d.alone + d.one_sided)
        hidden = (kind < d.alone)[:, None] | (one_sided[:, None] & (self.above == self._chance(0.5)[:, None]))
        there = (table >= 0) & ~hidden
        seen = torch.cat([index[:, None], torch.where(there, table, index[:, None])], dim=1)
        return seen, there * nearness(self.step_mm[scan])[:, None]

    def _noise(
        self,
        index: Tensor,
        scan: Tensor,
        y: Tensor,
        x: Tensor,
        rows: Tensor,
        columns: Tensor,
        flat: Tensor,
        phantom: Tensor,
    ) -> Tensor:
        """Noise (B, 3, H, W) of unit variance, rotated with its patch, correlated between slices."""
        white = self._randn(1 + NEIGHBOURS, self.field, self.field)
        drawn = self._rand(2)
        kind = drawn[:, 0]
        of_torso = ((kind >= 0.4) & (kind < 0.85)) * 0.7 * drawn[:, 1] + (kind >= 0.85)
        rho = torch.where(phantom, of_torso, self.correlation[scan].nan_to_num(0.0))
        along = _correlated(white, rho)
        factor = self.amplitudes[scan] * self._direction_factors(index, y, x)
        field = torch.fft.irfft2(torch.fft.rfft2(along) * factor[:, None], s=along.shape[2:])
        batch = torch.arange(len(index), device=self.device)[:, None, None, None]
        slices = torch.arange(1 + NEIGHBOURS, device=self.device)[None, :, None, None]
        made = field[batch, slices, rows[:, None], columns[:, None]]
        if self.inserted is None:
            return made
        sign = 1 - 2 * self._chance(0.5).float()
        inserted = _correlated(self.inserted.view(-1)[flat] * (NOISE_STEP * sign[:, None, None, None]), rho)
        return torch.where(self._chance(self.drawing.inserted)[:, None, None, None], inserted, made)

    def _direction_factors(self, index: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """(B, F, F // 2 + 1) factors of the amplitudes by direction around the patch."""
        half = self.drawing.patch // 2
        row, column = (
            ((start + half - WINDOW_STEP // 2) // WINDOW_STEP).clamp(0, count - 1)
            for start, count in ((y, self.directions.shape[1]), (x, self.directions.shape[2]))
        )
        share = self.directions[index, row, column]
        between = share[:, self.lower] * (1 - self.part) + share[:, (self.lower + 1) % DIRECTIONS] * self.part
        return between.sqrt()

    def _inserts(self, target: Tensor, scan: Tensor, near: Tensor) -> Tensor:
        """Up to three ellipsoids (B, 3, H, W) HU of uniform contrast across the slices, not yet blurred."""
        size, most = self.drawing.patch, 3
        wanted = self._chance(self.drawing.inserts)
        count = 1 + (self._rand() * most).long()
        pixel = self.pixel_mm[scan][:, None]
        radius = torch.exp(self._uniform(math.log(1.0), math.log(15.0), most)) / pixel
        other = radius * self._uniform(0.4, 1.0, most)
        deep = radius * pixel * self._uniform(0.5, 2.0, most)
        angle = self._uniform(0.0, math.pi, most)
        centre = self._rand(most, 2) * size
        offset = self._uniform(-0.5, 0.5, most) * deep
        around = functional.avg_pool2d(target[:, None], 7, 1, 3)[:, 0]
        where = centre.long().clamp_max(size - 1)
        batch = torch.arange(len(target), device=self.device)[:, None]
        local = around[batch, where[..., 0], where[..., 1]]
        contrast = torch.exp(self._uniform(math.log(8.0), math.log(1000.0), most))
        contrast = torch.where(self._chance(0.5, most), contrast, -contrast)
        contrast = torch.minimum(torch.maximum(contrast, (-1000 - local).clamp_max(0)), (2500 - local).clamp_min(0))
        contrast = contrast * wanted[:, None] * (torch.arange(most, device=self.device) < count[:, None])
        # distance of the neighbours from the slice; hidden ones do not matter
        apart = (near > 0) * -2 * torch.log2(near.clamp_min(1e-6))
        z = torch.cat([torch.zeros_like(apart[:, :1]), apart * (2 * self.above.float() - 1)], dim=1)
        cut = (1 - ((z[:, :, None] - offset[:, None]) / deep[:, None]) ** 2).clamp_min(1e-4).sqrt()
        axis = torch.arange(size, device=self.device, dtype=torch.float32)
        total = torch.zeros((len(target), z.shape[1], size, size), device=self.device)
        for k in range(most):
            dx = axis[None, None, :] - centre[:, k, 1, None, None]
            dy = axis[None, :, None] - centre[:, k, 0, None, None]
            sine, cosine = angle[:, k, None, None].sin(), angle[:, k, None, None].cos()
            u, v = dx * cosine + dy * sine, dy * cosine - dx * sine
            a, b = (one[:, k, None, None] for one in (radius, other))
            level = torch.hypot(u / a, v / b)
            slope = torch.hypot(u / a**2, v / b**2).clamp_min(1e-6) / level.clamp_min(1e-6)
            inside = (cut[:, :, k, None, None] - level[:, None]) / slope[:, None]
            total += contrast[:, k, None, None, None] * (inside + 0.5).clamp(0, 1)
        return total

    def _refiltered(self, low: Tensor, target: Tensor, inserts: Tensor, scan: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Low dose and target, with inserts blurred by the kernel and some through another kernel; gain of the
        noise.
        """
        at = torch.exp(self._uniform(math.log(0.3), math.log(2.0)))
        sharper, boost = self._chance(0.5)[:, None, None], self._uniform(0.0, 0.8)[:, None, None]
        changed = self._chance(self.drawing.kernels)

        def factor(frequency: Tensor) -> Tensor:
            smooth = torch.exp2(-((frequency / self.pixel_mm[scan][:, None, None] / at[:, None, None]) ** 2))
            either = torch.where(sharper, 1 + boost * (1 - smooth), smooth)
            return torch.where(changed[:, None, None], either, torch.ones_like(either))

        change = factor(self.frequency)
        shown = torch.fft.rfft2(inserts) * self.responses[scan][:, None]
        spectrum = torch.fft.rfft2(torch.cat([low, target[:, None]], dim=1))
        spectrum = (spectrum + torch.cat([shown, shown[:, :1]], dim=1)) * change[:, None]
        images = torch.fft.irfft2(spectrum, s=low.shape[2:])
        power = self.spectra[scan] ** 2
        gain = ((power * factor(self.frequency_64) ** 2).sum(dim=(1, 2)) / power.sum(dim=(1, 2))).sqrt()
        return images[:, :-1], images[:, -1], gain

    def _noise_level(self, index: Tensor, phantom: Tensor, dose: Tensor, scale: Tensor, gain: Tensor) -> Tensor:
        """(B,) noise level of the slice in HU with a simulated measurement error; 0 (unknown) in some."""
        own, quarter = self.own[index], self.quarter[index]
        added = (quarter**2 - own**2).clamp_min(0) * scale**2
        level = (own**2 + added).sqrt() * gain * torch.exp(0.12 * self._randn())
        return torch.where(self._chance(0.05), torch.zeros_like(level), level)

    def _cells(self, index: Tensor, y: Tensor, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Organ maps (B, N, H/8, W/8), float, rotated like the patch."""
        size = self.drawing.patch // LEVEL_STEP
        rows, columns = turned(size, *self.turn)
        most = self.maps.shape[-1] - 1
        row = (torch.div(y + LEVEL_STEP // 2, LEVEL_STEP, rounding_mode="floor")[:, None, None] + rows).clamp_max(most)
        column = (torch.div(x + LEVEL_STEP // 2, LEVEL_STEP, rounding_mode="floor")[:, None, None] + columns).clamp_max(
            most
        )
        return self.maps[index[:, None, None], :, row, column].permute(0, 3, 1, 2).float() / 255

    def _strangers(self, maps: Tensor) -> Tensor:
        """Organ maps of other slices for wrong priors: those of the batch, shifted by two pairs."""
        return maps.roll(4, dims=0)


def fine_levels(levels: Tensor) -> Tensor:
    """Interpolate noise levels from cells (S, rows, columns) to pixels, float32."""
    return functional.interpolate(levels.float()[:, None], scale_factor=LEVEL_STEP, mode="bilinear")[:, 0]


def turned(size: int, swap: Tensor, up: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column (B, size, size) of each pixel of a patch that is rotated by quarter turns and mirrored."""
    along = torch.arange(size, device=swap.device)
    down, right = along[:, None].expand(size, size), along.expand(size, size)
    rows, columns = torch.where(swap, right, down), torch.where(swap, down, right)
    end = size - 1
    return torch.where(up, end - rows, rows), torch.where(left, end - columns, columns)


def _pairs(batch: int, phantoms: int, device: torch.device) -> Tensor:
    """(B,) row whose draws each patch uses: the second of a pair uses the first's."""
    row = torch.arange(batch, device=device)
    return torch.where(row < phantoms, row - row % 2, row)


def _correlated(white: Tensor, rho: Tensor) -> Tensor:
    """White noise (B, 3, H, W), the slice first, with correlation rho (B,) between touching slices (AR(1) along z)."""
    rho = rho[:, None, None, None]
    centre, beside = white.split((1, NEIGHBOURS), dim=1)
    return torch.cat([centre, rho * centre + (1 - rho**2).clamp_min(0).sqrt() * beside], dim=1)


def _picked(places: tuple[Tensor, Tensor] | Tensor, uniform: Tensor) -> Tensor:
    """Row indices of places (P, 5) for uniform draws: places are repeated in proportion to their weight."""
    assert isinstance(places, Tensor)
    if not len(places):
        return torch.zeros((len(uniform), 5), dtype=torch.long, device=uniform.device)
    return places[(uniform.double() * len(places)).long().clamp_max(len(places) - 1)]


def _pools(pack: Pack, drawing: Drawing, validation: bool) -> list[Tensor]:
    """Places (P, 5): slice, first row and column, last row and column, of torsos, slabs and all scans.

    A patient's scans are weighted by the square root of their number of slices.
    """
    size = drawing.patch
    of_phantom, of_slab = pack.phantom[pack.scan], (pack.neighbours >= 0).any(axis=1)
    wanted = pack.validation[pack.scan] == validation
    patients = np.array(pack.patients)[pack.scan]
    pools = []
    rng = np.random.default_rng(drawing.seed)
    for members in (of_phantom, of_slab & ~of_phantom, ~of_phantom):
        here = np.flatnonzero(members & wanted & (pack.shape.min(axis=1) >= size))
        rows, weights = [], []
        for index in here:
            height, width = pack.shape[index]
            half = size // 2
            centres = pack.hu[index, half : height - size + half + 1 : GRID, half : width - size + half + 1 : GRID]
            found = np.argwhere(centres > BODY_HU) * GRID
            same = np.count_nonzero(patients[here] == patients[index])
            rows += [(index, y, x, height - size, width - size) for y, x in found.tolist()]
            weights += [1 / (np.sqrt(same) * max(len(found), 1))] * len(found)
        if rows:
            chance = np.array(weights) / np.sum(weights)
            drawn = rng.choice(len(rows), 400_000, p=chance)
            pools.append(torch.from_numpy(np.array(rows, np.int64)[drawn]))
        else:
            pools.append(torch.zeros((0, 5), dtype=torch.long))
    return pools


def _radius(side: int, device: torch.device) -> Tensor:
    """Radial frequency (side, side // 2 + 1) in cycles per pixel."""
    return torch.hypot(
        torch.fft.fftfreq(side, device=device)[:, None], torch.fft.rfftfreq(side, device=device)[None, :]
    )


def _responses(table: Tensor, side: int) -> Tensor:
    """Kernel responses (K, steps) → on the frequencies of a patch (K, side, side // 2 + 1)."""
    place = _radius(side, table.device) / LARGEST_RESPONSE * (table.shape[1] - 1)
    lower = place.floor().long().clamp_max(table.shape[1] - 2)
    part = (place - lower).clamp(0, 1)
    return table[:, lower] * (1 - part) + table[:, lower + 1] * part
