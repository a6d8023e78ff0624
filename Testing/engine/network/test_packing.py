"""Weights as int8: accurate, small, and refused if a scale is missing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bioatt.network.packing import SCALE, packed, unpacked


@given(st.integers(1, 8), st.integers(1, 8), st.floats(1e-6, 1e6))
def test_every_row_keeps_its_own_precision(rows, columns, spread):
    """A row of small weights next to a row of large ones is not rounded away, and its largest weight is kept."""
    weights = torch.randn(rows, columns, 3, 3) * torch.logspace(0, 1, rows).view(-1, 1, 1, 1).pow(2) * spread
    found = unpacked(packed({"conv": weights}))["conv"]
    largest = weights.abs().amax(dim=(1, 2, 3), keepdim=True)
    assert ((found - weights).abs() <= largest / 253).all()
    torch.testing.assert_close(found.abs().amax(dim=(1, 2, 3), keepdim=True), largest)


def test_offsets_stay_as_they_are_and_rows_of_zeros_are_zeros():
    given_ = {"bias": torch.tensor([1.2345678, -0.1]), "conv": torch.zeros(2, 3, 1, 1)}
    stored = packed(given_)
    assert stored["conv"].dtype == torch.int8
    assert stored.keys() == {"bias", "conv", "conv" + SCALE}
    found = unpacked(stored)
    torch.testing.assert_close(found["bias"], given_["bias"], rtol=0, atol=0)
    assert not found["conv"].any()


def test_a_missing_scale_is_no_weight():
    stored = packed({"conv": torch.ones(1, 1, 1, 1)})
    del stored["conv" + SCALE]
    with pytest.raises(KeyError):
        unpacked(stored)
