"""Intervals and tables as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Found = Mapping[str, Any]


def said(found: Found, digits: int = 2, *, sign: bool = False) -> str:
    """mean [low, high]; the mean alone where there is no interval, a dash for no patients."""
    if not found or not found["patients"] or not math.isfinite(found["mean"]):
        return "–"
    style = f"{'+' if sign else ''}.{digits}f"
    text = format(found["mean"], style)
    if found["low"] is None:
        return f"{text} (n = 1)" if found["patients"] == 1 else text
    return f"{text} [{found['low']:{style}}, {found['high']:{style}}]"


def number(value: float | None, digits: int = 2) -> str:
    """A dash for what was not measured or is not finite."""
    return f"{value:.{digits}f}" if value is not None and math.isfinite(value) else "–"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
