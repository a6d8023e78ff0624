"""Organ tables as CSV and text. Needs only the standard library."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

COLUMNS = (
    "organ", "value", "volume_ml", "cut_off", "measured_ml", "mean_before", "mean_after", "noise_before", "noise_after",
    "noise_is_bound", "cnr_before", "cnr_after", "shift", "shift_limit", "moved",
)  # fmt: skip


def as_csv(table: Mapping[str, Any]) -> str:
    """Format the rows as CSV with a header line, numbers in full precision, unknown values empty."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if row[key] is None else row[key] for key in COLUMNS} for row in table["organs"])
    return stream.getvalue()


def as_text(table: Mapping[str, Any]) -> str:
    """Format the rows as text, "before -> after" if there is a denoised scan.

    Marks: > the scan truncates the volume, < the noise includes anatomy, ! the mean moved.
    """
    denoised = any(row["mean_after"] is not None for row in table["organs"])
    width = 20 if denoised else 10
    head = f"{'organ':16s}{'volume, ml':>12s}"
    head += "".join(f"{name:>{width}s}" for name in ("mean, HU", "noise, HU", "CNR")) + ("     shift, HU" * denoised)
    lines = [head]
    for row in table["organs"]:
        volume = _number(row["volume_ml"], ".0f", ">" * row["cut_off"])
        cells = [
            _pair(row, "mean", ".0f", ""),
            _pair(row, "noise", ".1f", "<" * row["noise_is_bound"]),
            _pair(row, "cnr", ".1f", ""),
        ]
        shift = f"{_number(row['shift'], '+.1f')}{'!' if row['moved'] else ' '}"
        lines.append(
            f"{row['organ']:16s}{volume:>12s}"
            + "".join(f"{cell:>{width}s}" for cell in cells)
            + f"{shift:>14s}" * denoised
        )
    return "\n".join(line.rstrip() for line in lines)


def _pair(row: Mapping[str, Any], name: str, digits: str, mark: str) -> str:
    before = _number(row[f"{name}_before"], digits, mark)
    after = row[f"{name}_after"]
    return before if after is None else f"{before} -> {_number(after, digits, mark)}"


def _number(value: float | None, digits: str, mark: str = "") -> str:
    return "-" if value is None else f"{mark}{value:{digits}}"
