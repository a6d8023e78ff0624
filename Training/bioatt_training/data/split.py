"""Split into training, validation and test."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bioatt.core.errors import InputError

PARTS = ("train", "validation", "test")
SHARES = (0.64, 0.16, 0.20)
"""The paper's shares (§3.1), applied to patients instead of slices."""
log = logging.getLogger(__name__)


def by_patient(patients: Sequence[str], *, seed: int = 0) -> dict[str, str]:
    """Part of each patient: SHARES of the patients, drawn at random, at least one to validate and one to test.

    Raises InputError for fewer than three patients.
    """
    names = sorted(set(patients))
    if len(names) < 3:
        raise InputError(f"{len(names)} patient(s) cannot be split into three parts: add scans, or give a split file")
    drawn = np.random.default_rng(seed).permutation(names)
    validation, test = (max(1, round(share * len(names))) for share in SHARES[1:])
    test = min(test, len(names) - 1 - validation)
    parts = ["test"] * test + ["validation"] * validation + ["train"] * (len(names) - test - validation)
    return dict(zip((str(name) for name in drawn), parts, strict=True))


def from_file(path: Path, patients: Sequence[str]) -> tuple[dict[str, str], int]:
    """Part of each patient from JSON {"test": […], "validation": […]}, and how many named in it have no scan.

    All others are for training. Raises InputError for an invalid file, and if none of a part's patients has a scan.
    """
    try:
        lists = json.loads(path.read_text(encoding="utf-8"))
        test, validation = set(lists["test"]), set(lists["validation"])
    except OSError:
        raise InputError(f"split {path.name} cannot be opened: check the path") from None
    except (json.JSONDecodeError, KeyError, TypeError):
        raise InputError(f'split {path.name} is not {{"test": [...], "validation": [...]}}: correct it') from None
    if both := sorted(test & validation):
        raise InputError(f"split {path.name} lists {both[0]} in two parts: list each patient once")
    for part, named in (("test", test), ("validation", validation)):
        if named and not named & set(patients):
            raise InputError(
                f"split {path.name}: none of its {len(named)} {part} patients has a scan here: "
                "name patients as `bioatt-train prepare DIR --list` shows them"
            )
    parts = {name: "test" if name in test else "validation" if name in validation else "train" for name in patients}
    return parts, len((test | validation) - set(patients))


def by_slice_order(slices: int) -> list[str]:
    """The paper's split: of each scan's slices from head to feet, the first 64 % train, 16 % validate, 20 % test.

    Slices are counted from the feet, as in canonical volumes. Every part then contains the same patients, and
    neighbouring slices of an organ lie on both sides of a cut, so results are optimistic. A warning is issued.
    """
    log.warning("split by slice order: training and test share patients, so results will be optimistic")
    first, second = round(SHARES[0] * slices), round((SHARES[0] + SHARES[1]) * slices)
    return (["train"] * first + ["validation"] * (second - first) + ["test"] * (slices - second))[::-1]
