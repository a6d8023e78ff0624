"""The HTML page of `bioatt physics`: tables and plots in one self-contained file."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .8em;border-bottom:1px solid #ccc;text-align:left}"
    "img{max-width:100%}h1,h2{font-weight:600}.note{color:#666}"
)
PARTS = {"before": "C1", "after": "C0"}


def page(found: Mapping[str, Any], rows: Sequence[tuple[str, str]], images: Mapping[str, np.ndarray | None]) -> str:
    """Build the page from the results of `commands.physics`; rows: their table; images: plane spectra or noise maps."""
    body = [
        f"<h1>Image quality of a {html.escape(found['what'])} scan</h1>",
        "<p class=note>Research use only: not a medical device. Measures of AAPM TG-233; HU, mm, 1/mm.</p>",
        _table(("", "before → after" if _both(found) else ""), rows),
    ]
    figures = (_phantom if found["what"] == "phantom" else _patient)(found, images)
    body += [f"<h2>{html.escape(title)}</h2>{_image(figure, title)}" for title, figure in figures]
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>bioatt physics</title>"
        f"<style>{STYLE}</style><body>{''.join(body)}</body></html>\n"
    )


def _both(found: Mapping[str, Any]) -> bool:
    return "after" in found or found.get("structure") is not None


def _phantom(found: Mapping[str, Any], images: Mapping[str, Any]) -> list[tuple[str, Figure]]:
    parts = {name: found[name] for name in PARTS if name in found}
    figures = []
    if any(part["nps"] for part in parts.values()):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        axes = figure.subplots(1, 1 + len(parts))
        _curves(axes[0], {name: part["nps"] for name, part in parts.items() if part["nps"]}, "NPS, HU² mm²")
        for axis, (name, plane) in zip(axes[1:], images.items(), strict=True):
            if plane is not None:
                limit = 0.5 / found["pixel_mm"]
                axis.imshow(plane, extent=(-limit, limit, -limit, limit), cmap="magma")
            axis.set_title(f"plane spectrum, {name}", fontsize=9)
        figures.append(("Noise power spectrum", figure))
    seen = [k for k, row in enumerate(parts["before"]["inserts"]) if row["ttf"]]
    if seen:
        figure = Figure(figsize=(3 * len(seen), 2.9), layout="constrained")
        for axis, k in zip(figure.subplots(1, len(seen), squeeze=False)[0], seen, strict=True):
            curves = {name: part["inserts"][k]["ttf"] for name, part in parts.items() if part["inserts"][k]["ttf"]}
            _curves(axis, curves, "TTF")
            axis.set_ylim(0, 1.15)
            axis.set_title(f"{parts['before']['inserts'][k]['contrast']:+.0f} HU", fontsize=9)
        figures.append(("Task transfer function by contrast", figure))
    return figures


def _patient(found: Mapping[str, Any], images: Mapping[str, Any]) -> list[tuple[str, Figure]]:
    figures = []
    figure = Figure(figsize=(4.2 * len(images), 3.6), layout="constrained")
    measured = [row["noise_before"] for row in found["organs"] if row["noise_before"] is not None]
    # values at organ edges are far above the noise
    top = 2 * float(np.median(measured)) if measured else float(np.percentile(images["before"], 75))
    for axis, (name, image) in zip(figure.subplots(1, len(images), squeeze=False)[0], images.items(), strict=True):
        shown = axis.imshow(image, cmap="viridis", vmin=0, vmax=top)
        axis.set_title(name, fontsize=9)
        axis.set_axis_off()
    figure.colorbar(shown, ax=figure.axes, label="HU", shrink=0.8)
    figures.append(("Noise map, median over the slices", figure))
    rows = [row for row in found["organs"] if row["noise_before"] is not None]
    if rows:
        figure = Figure(figsize=(7, 0.6 + 0.28 * len(rows)), layout="constrained")
        axis = figure.subplots()
        at = np.arange(len(rows))
        for shift, (name, colour) in zip((-0.2, 0.2), PARTS.items(), strict=True):
            values = [row[f"noise_{name}"] or 0 for row in rows]
            if any(values):
                axis.barh(at + shift, values, 0.38, color=colour, label=name)
        axis.set_yticks(at, [row["organ"] for row in rows], fontsize=8)
        axis.invert_yaxis()
        axis.set_xlabel("noise, HU")
        axis.legend(fontsize=8)
        figures.append(("Noise by organ", figure))
    if found["nps"]:
        shown_organs = sorted(found["nps"], key=lambda name: (name != "liver", -found["nps"][name]["patches"]))[:3]
        figure = Figure(figsize=(3.2 * len(shown_organs), 2.9), layout="constrained")
        for axis, organ in zip(figure.subplots(1, len(shown_organs), squeeze=False)[0], shown_organs, strict=True):
            one = found["nps"][organ]
            _curves(axis, {name: one[name] for name in PARTS if name in one}, "NPS, HU² mm²")
            axis.set_title(organ, fontsize=9)
        figures.append(("Noise power spectrum in organs", figure))
    return figures


def _curves(axis: Any, curves: Mapping[str, Mapping[str, Sequence[float]]], label: str) -> None:
    for name, one in curves.items():
        axis.plot(one["frequency"], one["value"], color=PARTS[name], lw=1.3, label=name)
    axis.set_xlabel("1/mm", fontsize=9)
    axis.set_ylabel(label, fontsize=9)
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{line(headings, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def _image(figure: Figure, title: str) -> str:
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=100)
    return f'<img alt="{html.escape(title)}" src="data:image/png;base64,{base64.b64encode(held.getvalue()).decode()}">'
