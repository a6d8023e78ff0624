"""The table of the training data's series agrees with the split and lists valid UIDs, each of one patient."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

TRAINING = Path(__file__).parents[3] / "Training"
UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")


@pytest.fixture
def rows():
    with (TRAINING / "data_sources.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_patient_is_in_the_part_that_the_split_says(rows):
    split = json.loads((TRAINING / "configs" / "split.json").read_text(encoding="utf-8"))
    parts = {row["patient"]: row["part"] for row in rows}
    assert len(parts) == 70
    for part in ("test", "validation"):
        named = set(split[part]) - {"MSB-01068"}  # another name of CMB-CRC-MSB-01068
        assert {patient for patient, found in parts.items() if found == part} == named


def test_series_are_uids_and_as_many_as_fit(rows):
    assert len({row["file"] for row in rows}) == len(rows) == 112
    for row in rows:
        series = row["series"].split()
        assert len(set(series)) == len(series) == int(row["fitting"])
        assert all(UID.fullmatch(uid) and len(uid) <= 64 for uid in series)
        assert row["collection"]
        assert row["licence"].startswith("CC BY ")


def test_a_series_belongs_to_one_patient(rows):
    owners: dict[str, str] = {}
    for row in rows:
        for uid in row["series"].split():
            assert owners.setdefault(uid, row["patient"]) == row["patient"]
