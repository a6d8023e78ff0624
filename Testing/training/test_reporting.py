"""All reports format numbers, intervals, tables and files alike."""

from __future__ import annotations

import json
import math

import pytest
from matplotlib.figure import Figure

from bioatt_training.reporting import (
    format_interval,
    format_mean_sd,
    format_number,
    markdown_table,
    save_figure,
    write_json,
    write_markdown,
)


@pytest.mark.parametrize(
    ("value", "shown"), [(1.235, "1.24"), (-0.5, "-0.50"), (None, "–"), (math.nan, "–"), (math.inf, "–")]
)
def test_what_was_not_measured_is_a_dash(value, shown):
    assert format_number(value) == shown


@pytest.mark.parametrize(
    ("interval", "options", "shown"),
    [
        ((1.5, 1.0, 2.0), {"sign": True, "unit": " dB"}, "+1.50 dB [+1.00, +2.00]"),
        ((1.5, None, None), {}, "1.50 (n = 1)"),
        ((1.5, math.nan, math.nan), {"digits": 1}, "1.5 (n = 1)"),
        ((1.5, None, None), {"count": 15}, "1.50"),
        ((math.nan, math.nan, math.nan), {}, "–"),
    ],
)
def test_an_interval_without_bounds_is_not_invented(interval, options, shown):
    assert format_interval(interval, **options) == shown


def test_means_and_tables():
    assert format_mean_sd({"mean": 1.0, "sd": 0.25}, 1) == "1.0 ± 0.2"
    assert markdown_table(["a", "b"], [["1", "2"]]) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]


def test_result_files_are_compact_and_lose_nothing_that_is_shown(tmp_path):
    found = {"a": [1 / 3, {"b": 27.935049999}], "none": math.nan, "n": 12345678901}
    write_json(tmp_path / "results.json", found)
    text = (tmp_path / "results.json").read_text()
    assert json.loads(text) == {"a": [0.33333333, {"b": 27.93505}], "none": None, "n": 12345678901}
    assert not set(text) & set(" \n")


def test_files_appear_whole(tmp_path):
    write_markdown(tmp_path / "README.md", ["# A", "", ""])
    save_figure(Figure(), tmp_path / "a.png")
    assert (tmp_path / "README.md").read_text() == "# A\n"
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "a.png"}
