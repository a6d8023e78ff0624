"""Validation of the simulation against theory: on a water cylinder, for which a whole scan can be simulated, and on
anatomy.

Expected results: σ of a scan scales as dose^−½ (quantum noise); the variance of inserted noise adds to the scan's own,
so a full-dose scan with inserted noise has the σ of a low-dose scan; both noise power spectra have the kernel's shape;
in anatomy, the local σ at quarter dose is twice that at full dose, and rays through the shoulders or the pelvis cause
streaks.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter, uniform_filter1d

from bioatt.core.noise import noise_sd
from bioatt.simulation.tomography import kernel_named
from bioatt_training.simulate.direct import scan_body
from bioatt_training.simulate.insertion import insert_noise
from bioatt_training.simulate.scanner import Scanner
from bioatt_training.simulate.texture import fit_texture, peak_frequency, radial_nps, tissue_nps
from bioatt_training.simulate.tissue import flat_tissue, local_moments, soft_tissue

DOSES = (1.0, 0.5, 0.25, 0.1)
WATER_KERNELS = ("B20", "B40", "LUNG")
WATER_MM, WATER_PIXEL_MM, WATER_COUNTS = 110.0, 0.8, 2e5


@dataclass
class Water:
    """One kernel on the cylinder; σ in HU, per dose; spectra in HU²·mm² over `frequency` (1/mm), at quarter dose."""

    kernel: str
    doses: tuple[float, ...]
    sigma: list[float]
    slope: float
    counts_solved: float
    sigma_with_insertion: float
    frequency: np.ndarray = field(repr=False)
    nps_direct: np.ndarray = field(repr=False)
    nps_inserted: np.ndarray = field(repr=False)

    @property
    def additivity(self) -> float:
        """σ of full dose with inserted noise ÷ σ of a quarter-dose scan: 1 in theory."""
        return self.sigma_with_insertion / self.sigma[self.doses.index(0.25)]

    @property
    def peaks(self) -> tuple[float, float]:
        """Peak frequencies in 1/mm, of the direct scan and of the inserted noise."""
        return peak_frequency(self.frequency, self.nps_direct), peak_frequency(self.frequency, self.nps_inserted)


@dataclass
class Anatomy:
    """One scan. σ in HU as measured by `noise_sd`: of the scan, of the inserted noise, and its prediction.

    ratio: median over flat tissue of the local σ at low dose ÷ that of the scan; ratio_predicted = 1/√dose. streaks: σ
    of the noise averaged along rows ÷ along columns, over 25 pixels: 1 for isotropic noise, more with photon starvation
    in lateral rays.
    """

    name: str
    kernel: dict[str, Any]
    dose: float
    sigma_scan: float
    sigma_inserted: float
    sigma_predicted: float
    ratio: float
    ratio_predicted: float
    streaks: float
    peak_scan: float
    peak_inserted: float


def water_cylinder(kernel: str, *, slices: int = 8, scanner: Scanner | None = None, seed: int = 0) -> Water:
    """Scans of a 22 cm water cylinder at DOSES, and noise inserted into the full-dose scan to reach a quarter."""
    scanner = scanner or Scanner().faster()
    side = int(2.4 * WATER_MM / WATER_PIXEL_MM)
    y, x = (np.mgrid[:side, :side] - (side - 1) / 2) * WATER_PIXEL_MM
    radius = np.hypot(x, y)
    body = np.repeat(np.where(radius < WATER_MM, 40.0, -1000.0).astype(np.float32)[None], slices, 0)
    filter_ = kernel_named(kernel)
    scans = scan_body(body, WATER_PIXEL_MM, counts=WATER_COUNTS, doses=DOSES, kernel=filter_, rng=seed, scanner=scanner)
    inside = np.broadcast_to(radius < 0.7 * WATER_MM, body.shape)
    inserted = insert_noise(scans[0], WATER_PIXEL_MM, dose_fraction=0.25, kernel=filter_, rng=seed + 1, scanner=scanner)
    quarter = scans[DOSES.index(0.25)]
    noise = (quarter - quarter.mean(0)) * np.sqrt(slices / (slices - 1))
    frequency, direct = radial_nps(noise, WATER_PIXEL_MM, inside)
    _, added = radial_nps(inserted.noise, WATER_PIXEL_MM, inside)
    sigma = [float(scan[inside].std()) for scan in scans]
    return Water(
        kernel=filter_.name,
        doses=DOSES,
        sigma=sigma,
        slope=float(np.polyfit(np.log(DOSES), np.log(sigma), 1)[0]),
        counts_solved=float(inserted.counts.mean()),
        sigma_with_insertion=float(inserted.hu_low[inside].std()),
        frequency=frequency,
        nps_direct=direct,
        nps_inserted=added,
    )


def anatomy(name: str, hu: np.ndarray, pixel_mm: float, *, dose: float = 0.25, seed: int = 0) -> Anatomy:
    """Insert noise into a scan hu (z, y, x) with its fitted kernel, and measure. Raises InputError like
    `insert_noise`.
    """
    hu = np.asarray(hu, np.float32)
    result = insert_noise(hu, pixel_mm, dose_fraction=dose, rng=seed)
    own, added, ratios = [], [], []
    flat = np.stack([flat_tissue(plane, sigma) for plane, sigma in zip(hu, result.noise_full, strict=True)])
    for plane, low, noise, even in zip(hu, result.hu_low, result.noise, flat, strict=True):
        own.append(noise_sd(plane))
        added.append(noise_sd(np.where(soft_tissue(plane), 75 + noise - uniform_filter(noise, 33), -1000)))
        if even.any():
            ratios.append(np.median(local_moments(low)[1][even] / np.maximum(local_moments(plane)[1][even], 0.1)))
    frequency, spectrum = tissue_nps(hu, pixel_mm, result.noise_full)
    scan_noise = spectrum - fit_texture(frequency, spectrum, pixel_mm).anatomy
    _, inserted = radial_nps(result.noise, pixel_mm, flat)
    return Anatomy(
        name=name,
        kernel=asdict(result.kernel),
        dose=dose,
        sigma_scan=float(np.nanmean(own)),
        sigma_inserted=float(np.nanmean(added)),
        sigma_predicted=float(np.nanmean(own) * np.sqrt(1 / dose - 1)),
        ratio=float(np.median(ratios)),
        ratio_predicted=dose**-0.5,
        streaks=streak_index(result.noise, hu > -300),
        peak_scan=peak_frequency(frequency, scan_noise),
        peak_inserted=peak_frequency(frequency, inserted),
    )


def streak_index(noise: np.ndarray, where: np.ndarray, length: int = 25) -> float:
    """σ of the noise (z, y, x) averaged over `length` pixels along rows ÷ along columns, in `where`."""
    along_rows, along_columns = (uniform_filter1d(noise, length, axis=axis)[where].std() for axis in (2, 1))
    return float(along_rows / along_columns)
