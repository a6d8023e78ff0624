"""Labels per slice from ranges of slices."""

from __future__ import annotations

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt_training.priors.labelled import label_ranges

PAPER = load_descriptor_set("paper17")
LIVER, PELVIS, BOWEL = (PAPER.descriptors.index(name) for name in ("liver", "pelvis", "bowel"))


def test_ranges_become_labels_unsure_at_their_ends() -> None:
    presence, sure = label_ranges([("liver", 2, 5), ("ribs", 0, 9)], 10, PAPER)
    assert presence[:, LIVER].tolist() == [False] * 2 + [True] * 4 + [False] * 4
    assert sure[:, LIVER].tolist() == [True, False, False, True, True, False, False, True, True, True]
    assert presence.sum() == 4, "ribs are no descriptor"


def test_the_volumes_own_ends_are_sure() -> None:
    presence, sure = label_ranges([("liver", 0, 4), ("bowel", 3, 4)], 5, PAPER)
    assert presence[:, LIVER].all()
    assert sure[:, LIVER].all()
    assert sure[:, BOWEL].tolist() == [True, True, False, False, True]


def test_several_structures_and_ranges_of_one_descriptor() -> None:
    presence, sure = label_ranges([("pelvis", 0, 4), ("hips", 3, 6), ("bowel", 0, 1), ("bowel", 5, 7)], 8, PAPER)
    assert presence[:, PELVIS].tolist() == [True] * 7 + [False]
    assert presence[:, BOWEL].tolist() == [True, True, False, False, False, True, True, True]
    assert sure[:, PELVIS].tolist() == [True] * 6 + [False] * 2
