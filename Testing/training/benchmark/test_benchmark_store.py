"""Measurements are made once, and survive a run that was killed."""

from __future__ import annotations

import math

from bioatt_training.benchmark.store import Store


def test_a_measurement_is_made_once(tmp_path):
    made = []
    for _ in range(2):
        store = Store(tmp_path / "work" / "kept.jsonl")
        assert store.get("a", lambda: made.append(1) or {"x": [1, 2.5]}) == {"x": [1, 2.5]}
        assert math.isnan(store.get("b", lambda: math.nan))
    assert made == [1]


def test_a_line_that_was_being_written_is_made_again(tmp_path):
    path = tmp_path / "kept.jsonl"
    Store(path).get("a", lambda: 1)
    with path.open("a") as file:
        file.write('{"key": "b", "val')
    store = Store(path)
    assert store.get("a", lambda: 9) == 1
    assert store.get("b", lambda: 2) == 2
    assert Store(path).get("b", lambda: 9) == 2
