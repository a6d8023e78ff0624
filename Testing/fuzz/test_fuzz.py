"""A short campaign, the same inputs each time; the long one is `python -m Testing.fuzz.campaign`."""

from __future__ import annotations

import pytest
from Testing.fuzz.campaign import fuzz
from Testing.fuzz.targets import TARGETS

INPUTS = 150


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_inputs_are_read_or_refused_in_one_line(name, capfd):
    counts = fuzz(name, INPUTS, start=1)
    assert counts["inputs"] >= INPUTS
    assert counts["read"] + counts["refused"] == counts["inputs"]
    assert capfd.readouterr().err == ""
