"""Figures of the physics study: d′ against dose, and its ratio by insert."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from bioatt_training.reporting import save_figure
from bioatt_training.studies.physics.detection import INPUT
from bioatt_training.studies.physics.results import FIRST

PANELS = 3
"""Panels in a row of ratio.png."""


def write_figures(results: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """dose.png and ratio.png; returns captions by file name."""
    plot_dose(results, folder / "dose.png")
    plot_ratios(results, folder / "ratio.png")
    return {
        "dose.png": f"d′ ({FIRST}) against dose in water of 20 cm, input and output, with 95 % intervals.",
        "ratio.png": "d′ of the output ÷ d′ of the input, by insert and observer, with 95 % intervals.",
    }


def plot_dose(results: Mapping[str, Any], path: Path) -> None:
    """One panel a kernel: curves of the input, points of the output."""
    name, kernels = results["model"]["name"], results["low"]
    figure = Figure(figsize=(4.6 * len(kernels), 4.2), layout="constrained")
    for axis, (kernel, found) in zip(figure.subplots(1, len(kernels), squeeze=False)[0], kernels.items(), strict=True):
        for number, insert in enumerate(next(iter(found.values()))[INPUT]["inserts"]):
            for subject, style in ((INPUT, "o-"), (name, "s")):
                doses = [dose for dose in found if subject in found[dose]]
                d = np.array([found[dose][subject]["inserts"][insert]["d"] for dose in doses])
                at = np.array([float(dose) for dose in doses]) * (1 if subject == INPUT else 1.04)
                axis.errorbar(
                    at,
                    d[:, 0],
                    np.abs(d[:, 1:] - d[:, :1]).T,
                    fmt=style,
                    color=f"C{number}",
                    mfc="none" if subject == INPUT else f"C{number}",
                    ms=4,
                    lw=0.9,
                    label=insert if subject == INPUT else None,
                )
        axis.set(xscale="log", yscale="log", title=f"kernel {kernel}", xlabel="dose, fraction of full", ylabel="d′")
        axis.set_xticks([float(dose) for dose in found], found, minor=False)
        axis.set_xticks([], minor=True)
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter("{x:g}")
        axis.legend(fontsize=6, title=f"○ input, ■ {name}", title_fontsize=6)
    save_figure(figure, path)


def plot_ratios(results: Mapping[str, Any], path: Path) -> None:
    """One panel a group of inserts: quarter and full dose."""
    name = results["model"]["name"]
    panels = {
        f"{kind} contrast, {kernel}": found for kind in ("low", "high") for kernel, found in results[kind].items()
    }
    if "liver" in results:
        panels["liver, B30"] = results["liver"]
    columns = min(PANELS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(3.1 * columns, 3.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(panels) :]:
        axis.remove()
    for axis, (title, found) in zip(axes, panels.items(), strict=False):
        inserts = [*found["0.25"][name]["inserts"]]
        for dose, shift, colour in (("0.25", -0.12, "C1"), ("1", 0.12, "C0")):
            ratios = np.array([found[dose][name]["inserts"][insert]["ratio"][FIRST] for insert in inserts])
            axis.errorbar(
                ratios[:, 0],
                np.arange(len(inserts)) + shift,
                xerr=np.abs(ratios[:, 1:] - ratios[:, :1]).T,
                fmt="o",
                color=colour,
                ms=4,
                lw=1,
                label=f"dose {dose}",
            )
        axis.axvline(1, color="0.5", lw=0.8)
        axis.set_yticks(range(len(inserts)), inserts, fontsize=7)
        axis.set_title(title, fontsize=8)
        axis.tick_params(axis="x", labelsize=7)
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=7, loc="outside upper right", ncols=2)
    figure.supxlabel("d′ out ÷ d′ in", fontsize=8)
    save_figure(figure, path)
