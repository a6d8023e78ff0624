"""Numbers, intervals, Markdown tables, figures and result files, in a common style for all studies and reports."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bioatt.io.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DASH = "–"
"""Table entry for missing values."""
DIGITS = 8
"""Significant digits of stored results, enough that their rounded values equal those of the measurements."""


def format_number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """The number with this many decimals; a dash for None, NaN and infinity."""
    return DASH if value is None or not math.isfinite(value) else f"{value:{'+' if sign else ''}.{digits}f}"


def format_interval(
    interval: Sequence[float | None], digits: int = 2, *, sign: bool = False, unit: str = "", count: int = 1
) -> str:
    """(mean, low, high) as "mean unit [low, high]".

    Without bounds only the mean, followed by "(n = 1)" if `count` is one; a dash without a mean.
    """
    mean, low, high = (format_number(value, digits, sign=sign) for value in interval)
    if mean == DASH:
        return DASH
    if DASH in (low, high):
        return f"{mean}{unit}" + " (n = 1)" * (count == 1)
    return f"{mean}{unit} [{low}, {high}]"


def format_mean_sd(group: Mapping[str, float], digits: int) -> str:
    """{"mean", "sd"} as "mean ± sd"."""
    return f"{format_number(group['mean'], digits)} ± {format_number(group['sd'], digits)}"


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [f"| {' | '.join(line)} |" for line in (headings, ["---"] * len(headings), *rows)]


def markdown_figures(captions: Mapping[str, str]) -> list[str]:
    """The lines of Markdown images; captions: by file name."""
    return [line for name, text in captions.items() for line in (f"![{text}]({name})", "", text, "")]


def write_markdown(path: Path, lines: Sequence[str]) -> None:
    """Write a text file of these lines atomically."""
    with atomic_write(path) as partial:
        partial.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def write_json(path: Path, content: Any, digits: int = DIGITS) -> None:
    """Write a compact JSON result file atomically, with numbers rounded to this many significant digits."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(_rounded(content, digits), separators=(",", ":")), encoding="utf-8")


def _rounded(value: Any, digits: int) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None  # JSON has no NaN
    if isinstance(value, Mapping):
        return {key: _rounded(one, digits) for key, one in value.items()}
    return [_rounded(one, digits) for one in value] if isinstance(value, list | tuple) else value


def save_figure(figure: Figure, path: Path, dpi: int = 90) -> None:
    """Write a matplotlib figure as PNG atomically."""
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png", dpi=dpi, facecolor=figure.get_facecolor())
