"""Plots of the calibration report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bioatt_training.reporting import save_figure
from bioatt_training.simulate.calibration import Anatomy, Water
from bioatt_training.simulate.insertion import insert_noise

DPI = 80
WINDOW_HU = -160, 240
"""Display window of a scan: soft tissue."""
NOISE_HU = -150, 150


def plot_water(waters: Sequence[Water], path: Path) -> None:
    """σ against dose, and radial noise power spectra, direct and inserted."""
    figure = Figure(figsize=(10, 4), layout="tight")
    left, right = figure.subplots(1, 2)
    for number, water in enumerate(waters):
        colour = f"C{number}"
        dose = np.array(water.doses)
        left.loglog(dose, water.sigma, "o", color=colour, label=f"{water.kernel}: slope {water.slope:.3f}")
        left.loglog(dose, water.sigma[0] * dose**-0.5, color=colour, lw=1)
        left.loglog([0.25], [water.sigma_with_insertion], "x", color=colour, ms=10)
        scale = water.nps_direct.max()
        right.plot(water.frequency, water.nps_direct / scale, color=colour, label=f"{water.kernel} direct")
        right.plot(water.frequency, water.nps_inserted / scale * 4 / 3, "--", color=colour, label="inserted · 4/3")
    left.set(xlabel="dose fraction", ylabel="σ (HU)", title="Water: dots direct, line dose^−½, cross inserted")
    right.set(xlabel="frequency (1/mm)", ylabel="NPS / peak of direct", title="Noise power spectra, quarter dose")
    left.legend()
    right.legend(fontsize=7)
    save_figure(figure, path, DPI)


def plot_anatomy(results: Sequence[Anatomy], path: Path) -> None:
    """Inserted σ and spectral peak of each scan against prediction, with the required margins."""
    figure = Figure(figsize=(10, 4), layout="tight")
    pairs = [
        ("σ inserted (HU)", 0.10, [(one.sigma_predicted, one.sigma_inserted) for one in results]),
        ("NPS peak inserted (1/mm)", 0.15, [(one.peak_scan, one.peak_inserted) for one in results]),
    ]
    for axis, (label, margin, points) in zip(figure.subplots(1, 2), pairs, strict=True):
        predicted, measured = np.array(points).T
        line = np.array([predicted.min() * 0.9, predicted.max() * 1.1])
        axis.fill_between(line, line * (1 - margin), line * (1 + margin), alpha=0.2, label=f"±{margin:.0%}")
        axis.plot(line, line, lw=1)
        axis.plot(predicted, measured, "o")
        axis.set(xlabel="predicted from the scan", ylabel=label)
        axis.legend()
    save_figure(figure, path, DPI)


def plot_example(name: str, hu: np.ndarray, pixel_mm: float, index: int, path: Path, *, dose: float = 0.25) -> None:
    """A slice as scanned, with inserted noise, and the noise; each title gives its window."""
    result = insert_noise(hu, pixel_mm, dose_fraction=dose, rng=0)
    images = (hu[index], WINDOW_HU), (result.hu_low[index], WINDOW_HU), (result.noise[index], NOISE_HU)
    figure = Figure(figsize=(12, 12 * hu.shape[1] / hu.shape[2] / 3 + 0.55), layout="constrained")
    titles = f"{name}, as scanned", f"dose fraction {dose:g} (simulated, research use only)", "inserted noise"
    for axis, (image, (low, high)), title in zip(figure.subplots(1, 3), images, titles, strict=True):
        axis.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        axis.set_title(f"{title}\n{_minus(low)} … {_minus(high)} HU", fontsize=8)
        axis.axis("off")
    save_figure(figure, path, DPI)


def _minus(hu: int) -> str:
    return f"{hu}".replace("-", "−")
