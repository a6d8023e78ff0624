"""Comparison figure: low dose, denoised, their difference and the reference, by slice and window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bioatt.core.errors import InputError
from bioatt.core.metrics import WINDOWS, Window, psnr
from bioatt.core.noise import noise_sd
from bioatt.io.files import atomic_write

DIFFERENCE_HU = 100.0
PANEL_INCH, CAPTION_INCH, MARGIN_INCH = 4.1, 0.27, 0.08


@dataclass(frozen=True)
class View:
    """One row of the figure: a slice, or part of one (rows, columns), in a window; PSNR uses the same window."""

    index: int
    window: Window = WINDOWS["soft tissue"]
    title: str = ""
    part: tuple[slice, slice] = (slice(None), slice(None))


def around(centre: tuple[float, float], side: int, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Crop of `side` × `side` pixels around a (row, column), shifted to stay within an image of `shape`."""
    starts = [int(np.clip(round(c) - side // 2, 0, max(n - side, 0))) for c, n in zip(centre, shape, strict=True)]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)


def body_part(hu: np.ndarray, margin: int = 8) -> tuple[slice, slice]:
    """Crop of a slice (y, x) to the body."""
    rows, columns = np.flatnonzero((hu > -400).any(1)), np.flatnonzero((hu > -400).any(0))
    if not rows.size:
        return slice(None), slice(None)
    return (
        slice(max(rows[0] - margin, 0), rows[-1] + margin + 1),
        slice(max(columns[0] - margin, 0), columns[-1] + margin + 1),
    )


def write_comparison(
    path: str | Path,
    low: np.ndarray,
    denoised: np.ndarray,
    reference: np.ndarray,
    views: Sequence[View],
    *,
    titles: tuple[str, str, str] = ("low dose", "denoised", "reference"),
    footer: str = "",
) -> None:
    """Write the figure atomically as PNG. Volumes are HU (z, y, x) of one shape with square pixels and columns from the
    patient's right to left.

    Captions give the window and, for each slice, the soft-tissue noise (`metrics.noise_sd`) and PSNR. Raises InputError
    for volumes of different shape or an unwritable path.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if not low.shape == denoised.shape == reference.shape or not views:
        raise InputError("a comparison needs volumes of one shape and at least one view")
    heights = []
    for view in views:
        rows, columns = low[view.index][view.part].shape
        heights.append(PANEL_INCH * rows / columns + CAPTION_INCH)
    height = sum(heights) + CAPTION_INCH + MARGIN_INCH
    figure = Figure(figsize=(4 * PANEL_INCH, height), facecolor="black")
    room = (0, 0, 1, 1 - MARGIN_INCH / height)
    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.02, wspace=0.0, hspace=0.0, rect=room))
    grid = figure.subplots(len(views), 4, squeeze=False, gridspec_kw={"height_ratios": heights})
    box = {"facecolor": "black", "edgecolor": "none", "alpha": 0.6, "pad": 2}
    for axes, view in zip(grid, views, strict=True):
        before, after, truth = (volume[view.index].astype(np.float32) for volume in (low, denoised, reference))
        lower, upper = view.window
        gray = {"cmap": "gray", "vmin": lower, "vmax": upper, "interpolation": "bilinear"}
        panels = (
            (before, gray, f"{titles[0]}  {_quality(before, truth, view.window)}"),
            (after, gray, f"{titles[1]}  {_quality(after, truth, view.window)}"),
            (
                after - before,
                {**gray, "vmin": -DIFFERENCE_HU, "vmax": DIFFERENCE_HU},
                f"{titles[1]} - {titles[0]}  [-{DIFFERENCE_HU:g}, {DIFFERENCE_HU:g}] HU",
            ),
            (truth, gray, titles[2]),
        )
        for axis, (image, style, caption) in zip(axes, panels, strict=True):
            axis.imshow(image[view.part], **style)
            axis.set_title(caption, color="white", fontsize=10.5, pad=3)
            axis.set_axis_off()
            for letter, place in (("R", 0.012), ("L", 0.988)):
                where = {"ha": "left" if letter == "R" else "right", "va": "center", "transform": axis.transAxes}
                axis.text(place, 0.5, letter, color="white", fontsize=9, bbox=box, **where)
        label = f"{view.title}, slice {view.index}, window [{lower:g}, {upper:g}] HU"
        axes[0].text(0.012, 0.985, label, color="white", fontsize=9, va="top", transform=axes[0].transAxes, bbox=box)
    text = "PSNR (in the row's window) and noise are for the whole slice. Research use only, not for diagnosis."
    figure.supxlabel(f"{footer} {text}".strip(), color="lightgray", fontsize=10)
    with atomic_write(Path(path)) as partial:
        figure.savefig(partial, format="png", dpi=110, facecolor="black")


def _quality(image: np.ndarray, truth: np.ndarray, window: Window) -> str:
    sd = noise_sd(image)
    noise = f"noise {sd:.0f} HU, " if sd == sd else ""
    return f"{noise}PSNR {psnr(truth, image, window):.1f} dB"
