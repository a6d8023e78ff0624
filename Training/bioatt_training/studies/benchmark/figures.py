"""Figures of a benchmark: noise spectra, noise and texture by strength, and details of held-out patients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bioatt.core.metrics import WINDOWS, Window
from bioatt.io.comparison_figure import around
from bioatt_training.data.bank import Bank
from bioatt_training.reporting import save_figure
from bioatt_training.studies.benchmark.denoisers import Denoiser
from bioatt_training.studies.benchmark.measures.texture import GRID, LARGEST_SHIFT
from bioatt_training.studies.benchmark.runner import QUARTER
from bioatt_training.studies.benchmark.truth import Case, bank_case

DIFFERENCE_HU = 100.0


@dataclass(frozen=True)
class Site:
    """A detail to show: slice of a file, centre (row, column), side in pixels, windows, and citation."""

    name: str
    source: str
    number: int
    centre: tuple[float, float]
    windows: tuple[Window, Window]
    collection: str
    side: int = 144


SOFT = WINDOWS["soft tissue"]
SITES = (
    Site(
        "lung",
        "LIDC-0314_chest1mm.nrrd",
        8,
        (200, 150),
        (WINDOWS["lung"], SOFT),
        "LIDC-IDRI, 10.7937/K9/TCIA.2015.LO9QL9SX, CC BY 3.0",
    ),
    Site(
        "liver",
        "CRLM-CT-1004_liver.nrrd",
        10,
        (125, 110),
        (SOFT, (20.0, 200.0)),
        "Colorectal-Liver-Metastases, 10.7937/QXK2-QG03, CC BY 4.0",
    ),
    Site(
        "bone",
        "TCGA-09-2043_abdpelvis.nrrd",
        4,
        (245, 140),
        (WINDOWS["bone"], SOFT),
        "TCGA-OV, 10.7937/K9/TCIA.2016.NDO1MDFQ, CC BY 3.0",
    ),
)


def write_figures(results: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """spectra.png and strength.png; returns captions by file name."""
    plot_spectra(results["texture"], folder / "spectra.png")
    plot_strength(results["strengths"], folder / "strength.png")
    return {
        "spectra.png": "Noise power spectra in anatomy.",
        "strength.png": "Noise removed and shift of its mean frequency, means over the three kernel classes.",
    }


def write_pictures(bank: Bank, denoisers: Sequence[Denoiser], folder: Path) -> dict[str, str]:
    """One figure per site, SITE.png; returns captions by file name. Sites missing from the bank are left out."""
    shown = {}
    for site, case in present(bank):
        image = case.image(QUARTER)
        outputs = {one.name: np.asarray(one(image), np.float32) for one in denoisers}
        plot_site(site, case, image.hu, outputs, folder / f"{site.name}.png")
        shown[f"{site.name}.png"] = f"{case.patient} ({site.collection}; detail of a slice, inserted noise)."
    return shown


def present(bank: Bank) -> Iterator[tuple[Site, Case]]:
    """Sites with their cases."""
    for site in SITES:
        indices = [index for index in bank.indices("test") if bank.slices[index].source == site.source]
        if site.number < len(indices):
            yield site, bank_case(bank, indices[site.number])


def plot_spectra(textures: Mapping[str, Any], path: Path) -> None:
    """Noise power spectra in anatomy: input, output and removed, by model, dose and class of kernels."""
    rows = [(name, dose) for name in textures for dose in ("full", "quarter")]
    kinds = list(next(iter(textures.values()))["anatomy"])
    figure = Figure(figsize=(3.4 * len(kinds), 2.4 * len(rows)), layout="constrained")
    for axes, (name, dose) in zip(figure.subplots(len(rows), len(kinds), squeeze=False), rows, strict=True):
        for axis, kind in zip(axes, kinds, strict=True):
            found = textures[name]["anatomy"][kind][dose]
            for part, style in (("input", "k-"), ("output", "C0-"), ("removed", "C1--")) if found else ():
                axis.plot(GRID, np.array(found[part]["curve"], float), style, lw=1.2, label=part)
            axis.set_title(f"{name}, {dose} dose, {kind} kernel", fontsize=8)
            axis.set_ylim(bottom=0)
            axis.tick_params(labelsize=7)
        axes[0].set_ylabel("NPS, HU² mm²", fontsize=8)
        axes[0].legend(fontsize=7)
    figure.supxlabel("frequency, 1/mm", fontsize=8)
    save_figure(figure, path)


def plot_strength(strengths: Mapping[str, Any], path: Path) -> None:
    """Noise reduction and decrease of the mean frequency against strength, at full and quarter dose."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axis, what, label in zip(figure.subplots(1, 2), ("noise", "shift"), ("noise", "mean frequency"), strict=True):
        for number, (name, found) in enumerate(strengths.items()):
            curve = found["curve"]
            for dose, style in (("full", "-"), ("quarter", "--")):
                values = [100 * row[f"{what}_{dose}"] for row in curve]
                axis.plot(
                    [row["strength"] for row in curve],
                    values,
                    f"C{number}{style}o",
                    ms=3,
                    lw=1.2,
                    label=f"{name}, {dose} dose",
                )
        axis.set(xlabel="strength", ylabel=f"fall of the {label}, %")
        axis.legend(fontsize=7)
    axis.axhline(100 * LARGEST_SHIFT, color="0.6", lw=1)
    save_figure(figure, path)


def plot_site(site: Site, case: Case, low: NDArray, outputs: Mapping[str, NDArray], path: Path) -> None:
    """One row per window: quarter dose, outputs, full dose; then output − input (above), output − full dose (below)."""
    part = around(site.centre, site.side, low.shape)
    shown = [("quarter dose", low), *outputs.items(), ("full dose", case.truth)]
    columns = len(shown) + len(outputs)
    figure = Figure(figsize=(1.9 * columns, 2.05 * 2), facecolor="black", layout="constrained")
    others = (("quarter dose", low), ("full dose", case.truth))
    rows = zip(figure.subplots(2, columns, squeeze=False), site.windows, others, strict=True)
    for axes, window, (other, subtracted) in rows:
        differences = [(f"{name} − {other}", output - subtracted) for name, output in outputs.items()]
        windows = [window] * len(shown) + [(-DIFFERENCE_HU, DIFFERENCE_HU)] * len(outputs)
        for axis, (name, image), (lower, upper) in zip(axes, [*shown, *differences], windows, strict=True):
            axis.imshow(image[part], cmap="gray", vmin=lower, vmax=upper, interpolation="nearest")
            axis.set_title(f"{name} [{lower:g}, {upper:g}]", color="white", fontsize=6.5, pad=2)
            axis.set_axis_off()
    text = f"{case.patient}, {case.region}, {case.sharpness} kernel, simulated quarter dose, HU. Research use only."
    figure.supxlabel(text, color="lightgray", fontsize=7)
    save_figure(figure, path)
