"""A short fuzzing campaign with fixed inputs; the long one is `python -m Testing.fuzz.campaign`."""

from __future__ import annotations

import pytest
from Testing.fuzz.campaign import fuzz
from Testing.fuzz.targets import TARGETS, replies

INPUTS = 150


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_inputs_are_read_or_refused_in_one_line(name, capfd):
    counts = fuzz(name, INPUTS, start=1)
    assert counts["inputs"] >= INPUTS
    assert counts["read"] + counts["refused"] == counts["inputs"]
    assert capfd.readouterr().err == ""


def test_whole_requests_reach_the_engine(tmp_path):
    """The intact seed requests yield results, except the import of a missing folder, which is an error."""
    place = tmp_path / "damaged"
    place.mkdir()
    for name, line in TARGETS["worker"].seeds(tmp_path).items():
        (place / name).write_bytes(line)
        kinds = [reply["type"] for reply in replies(place / name) if reply["type"] != "progress"]
        assert kinds == {"cancel.jsonl": [], "models.jsonl": ["error"]}.get(name, ["result"]), name
