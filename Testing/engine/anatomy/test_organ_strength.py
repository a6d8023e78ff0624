"""Strength by organ: parsing, and the resulting strength map."""

from __future__ import annotations

import numpy as np
import pytest

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.anatomy.strength import StrengthMap, checked_organ_strength, parse_organ_strength
from bioatt.core.errors import InputError

PAPER = load_descriptor_set("paper17")


class Organs:
    """Organ probabilities: lungs and liver, each 0.5 at the border between them in slice 1."""

    descriptors = PAPER.descriptors
    source = "test"

    def organ(self, z: int, column: int) -> np.ndarray:
        p = np.zeros((4, 6), np.float32)
        name = self.descriptors[column]
        if name == "lungs":
            p[:, :2], p[:, 2] = 0.9, 0.5
        if name == "liver":
            p[:, 3:5], p[:, 2] = 1, 0.5
        return p * (z + 1) / 2


def test_the_sum_over_organs_and_none() -> None:
    """s = Σ pₙ sₙ + p(none) · s, written out."""
    field = StrengthMap(Organs(), {"lungs": 0.2, "liver": 1.0}, 0.6, (slice(1, 2), slice(0, 4), slice(0, 6)))(0)
    none = 1 - np.array([0.9, 0.9, 1, 1, 1, 0])
    lungs, liver = np.array([0.9, 0.9, 0.5, 0, 0, 0]), np.array([0, 0, 0.5, 1, 1, 0])
    np.testing.assert_allclose(field, np.tile(0.2 * lungs + liver + 0.6 * none, (4, 1)), atol=1e-6)


def test_a_part_of_the_slice_and_of_the_volume() -> None:
    whole = StrengthMap(Organs(), {"lungs": 0.0}, 1.0, (slice(0, 2), slice(0, 4), slice(0, 6)))
    part = StrengthMap(Organs(), {"lungs": 0.0}, 1.0, (slice(1, 2), slice(1, 3), slice(1, 4)))
    np.testing.assert_array_equal(part(0), whole(1)[1:3, 1:4])


def test_names_are_matched_as_people_write_them() -> None:
    assert parse_organ_strength(" Lungs=0.5, thoracic_aorta=1") == {"lungs": 0.5, "thoracic aorta": 1.0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lung=0.5", "unknown organ 'lung': use one of skull, brain"),
        ("lungs", "give ORGAN=0..1"),
        ("lungs=much", "give ORGAN=0..1"),
        ("=1", "give ORGAN=0..1"),
        ("lungs=1.5", "between 0 and 1"),
        ("lungs=nan", "between 0 and 1"),
        ("lungs=0.5,lungs=0.6", "twice"),
        ("lungs=0.5,LUNGS=0.6", "twice"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_organ_strength(text)


def test_nothing_asked_is_nothing() -> None:
    assert checked_organ_strength({}) == {}
