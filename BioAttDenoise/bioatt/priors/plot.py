"""Plot of a prior: stacked probabilities over z."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from bioatt.io.files import atomic_write
from bioatt.priors.base import Prior
from bioatt.priors.spatial import SpatialRows


def plot_prior(prior: Prior, step_mm: float, path: Path, title: str = "") -> None:
    """Write a PNG, PDF or SVG of the stacked probabilities over z (mm from the lowest slice, and slice number).

    A spatial prior is shown as each slice's mean. The file is written atomically; raises InputError for an unwritable
    path.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import hsv_to_rgb
    from matplotlib.figure import Figure

    p = prior.p.slice_means() if isinstance(prior.p, SpatialRows) else prior.p
    shares = np.repeat(p, 2, axis=0).T  # each slice is a band of its own thickness
    edges = np.repeat((np.arange(len(p) + 1) - 0.5) * step_mm, 2)[1:-1]
    count = len(prior.descriptors)
    colours = [
        tuple(hsv_to_rgb((n / count, 0.45 + 0.3 * (n % 2), 0.95 - 0.25 * (n % 3 == 1))).tolist()) for n in range(count)
    ]
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.stackplot(edges, shares, colors=colours, linewidth=0)
    seen = [n for n in range(count) if p[:, n].max() > 0.02]
    margins = edges[0] + 0.07 * np.ptp(edges), edges[-1] - 0.07 * np.ptp(edges)
    for n in seen:
        widest = np.flatnonzero(p[:, n] > 0.9 * p[:, n].max())
        middle = int(widest[len(widest) // 2])
        if p[middle, n] > 0.06:  # enough room for the label
            x, y = np.clip(middle * step_mm, *margins), p[middle, :n].sum() + p[middle, n] / 2
            axes.text(x, y, prior.descriptors[n], ha="center", va="center", fontsize=8)
    handles = [axes.fill_between([], [], color=colours[n], label=prior.descriptors[n]) for n in reversed(seen)]
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.07, 0.5), frameon=False, fontsize=8)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1), xlabel="z, mm towards the head", ylabel="probability, stacked")
    above = axes.secondary_xaxis("top", functions=(partial(np.multiply, 1 / step_mm), partial(np.multiply, step_mm)))
    above.set_xlabel("slice")
    axes.set_title(title or f"anatomical prior: {prior.source}", fontsize=10)
    with atomic_write(path) as partial_path:
        figure.savefig(partial_path, dpi=110)
