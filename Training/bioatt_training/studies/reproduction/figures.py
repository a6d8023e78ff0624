"""Figures of a reproduction: the paper's figures 5 to 7, and its attention maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bioatt_training.reporting import save_figure
from bioatt_training.studies.reproduction.attention_maps import kept_maps
from bioatt_training.studies.reproduction.results import Results

DPI = 100
FIGURES = {
    "figure5": ("base", "channel", "spatial", "bioatt"),
    "figure6": ("whole", "bioatt"),
    "figure7": ("random", "uniform", "bioatt"),
}
"""File and arms of each comparison: attention, patches or whole slices, weighting."""
LABELS = {"rmse": "RMSE", "psnr": "PSNR, dB", "ssim": "SSIM"}
COLOURS = {
    "base": "#555555",
    "channel": "#0072b2",
    "spatial": "#009e73",
    "whole": "#cc79a7",
    "uniform": "#e69f00",
    "random": "#56b4e9",
    "bioatt": "#d55e00",
}
"""Safe for colour blindness (Okabe and Ito 2008)."""
ATTENTION_ARMS = {"random": "Random", "uniform": "Uniform", "bioatt": "BioAtt"}


def draw_comparisons(results: Results, folder: Path) -> list[str]:
    """Draw figure5.png to figure7.png for the arms that have run; returns the names of the figures drawn.

    Top: test patches, each arm minus BioAtt, paired, with its interval over seeds and patients. Bottom: validation by
    epoch, one thin line for each common seed and a thick line for their mean.
    """
    drawn = []
    for name, arms in FIGURES.items():
        present = [arm for arm in arms if arm in results.arms]
        if len(present) > 1 and "bioatt" in present:
            _draw_comparison(results, present, folder / f"{name}.png")
            drawn.append(name)
    return drawn


def _draw_comparison(results: Results, arms: Sequence[str], path: Path) -> None:
    common = sorted(set.intersection(*(set(results.seeds(arm)) for arm in arms)))
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots(2, 3, squeeze=False)
    for column, (metric, label) in enumerate(LABELS.items()):
        above, below = axes[:, column]
        for place, arm in enumerate(arms):
            test = results.difference(arm, "bioatt", f"protocol/{metric}")
            if test:
                mean, low, high = test["difference"]
                above.errorbar(place, mean, [[mean - low], [high - mean]], fmt="o", capsize=5, color=COLOURS[arm])
            curves = results.curve(arm, f"val_{metric}", common)
            epochs = np.arange(1, curves.shape[1] + 1)
            below.plot(epochs, curves.T, color=COLOURS[arm], linewidth=0.6, alpha=0.5)
            below.plot(epochs, curves.mean(axis=0), color=COLOURS[arm], linewidth=2, marker=".", label=arm)
        above.set(title=label, xticks=range(len(arms)), xticklabels=arms, xlim=(-0.5, len(arms) - 0.5))
        above.axhline(0, color="black", linewidth=0.8)
        above.grid(axis="y", alpha=0.3)
        below.set(xlabel="epoch")
        below.grid(alpha=0.3)
    axes[0, 0].set_ylabel("test, minus BioAtt, 95 % interval")
    axes[1, 0].set_ylabel("validation")
    axes[1, 0].legend(frameon=False, fontsize=8)
    save_figure(figure, path, DPI)


def draw_attention(folders: dict[str, Path], organs: Sequence[str], folder: Path) -> list[str]:
    """attention-middle.png and attention-last.png: each organ's map relative to the others', −1 to 1.

    folders: one finished run by arm. Columns: Random, Uniform and BioAtt at each epoch kept; the last row is the mean
    of A over the organs, 0 to 1. Nothing is drawn until all three have run.
    """
    kept = {arm: kept_maps(folders[arm]) for arm in ATTENTION_ARMS if arm in folders}
    if len(kept) < len(ATTENTION_ARMS) or not all(kept.values()):
        return []
    epochs = sorted({epoch for files in kept.values() for epoch in files})
    held = {(arm, epoch): np.load(kept[arm][epoch]) for epoch in epochs for arm in kept if epoch in kept[arm]}
    for stage in ("middle", "last"):
        figure = Figure(figsize=(1.7 * len(held), 1.35 * (len(organs) + 1)), layout="constrained")
        axes = figure.subplots(len(organs) + 1, len(held), squeeze=False)
        for column, ((arm, epoch), maps) in enumerate(held.items()):
            views = maps[f"{stage}/contrast"] / 127
            for row, view in enumerate(views):
                axes[row, column].imshow(_smaller(view), cmap="RdBu_r", vmin=-1, vmax=1)
            axes[-1, column].imshow(_smaller(maps[f"{stage}/mean"] / 255), cmap="gray", vmin=0, vmax=1)
            axes[0, column].set_title(f"{ATTENTION_ARMS[arm]}\nepoch {epoch}", fontsize=9)
        for row, name in enumerate([*organs, "mean of A"]):
            axes[row, 0].set_ylabel(name, fontsize=8)
        for one in axes.ravel():
            one.set(xticks=[], yticks=[])
        save_figure(figure, folder / f"attention-{stage}.png", DPI)
    return ["attention-middle", "attention-last"]


def _smaller(image: np.ndarray) -> np.ndarray:
    return image[::2, ::2]
