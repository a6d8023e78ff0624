"""Organ tables: volumes, means, contrast, shifts and output formats."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from bioatt.anatomy.measure import measure_organs
from bioatt.anatomy.table import COLUMNS, as_csv, as_text
from bioatt.core.errors import Cancelled, InputError
from bioatt.core.volume import Volume

LIVER, SPLEEN, SPINE = 9, 10, 17
SPACING = (1.0, 1.0, 2.0)


def scan(liver: float = 100.0, noise: float = 10.0, seed: int = 0, even: bool = True) -> Volume:
    """Liver, spleen (60 HU) and spine (300 HU) with muscle (50 HU) behind it, surrounded by fat."""
    hu = np.full((8, 120, 120), -100.0, np.float32)
    hu[:, 60:110, 20:100] = 50
    hu[labels() == LIVER] = liver
    hu[labels() == SPLEEN] = 60
    hu[labels() == SPINE] = 300
    hu += np.random.default_rng(seed).normal(0, noise, hu.shape)
    return Volume(hu, SPACING, even=even)


def labels() -> np.ndarray:
    found = np.zeros((8, 120, 120), np.uint8)
    found[1:7, 10:50, 10:50] = LIVER
    found[:, 10:50, 60:100] = SPLEEN
    found[:, 60:80, 50:70] = SPINE
    return found


def row(table: dict, organ: str) -> dict:
    return next(row for row in table["organs"] if row["organ"] == organ)


def test_volume_mean_noise_and_contrast() -> None:
    table = measure_organs(labels(), scan())
    liver = row(table, "liver")
    assert [each["organ"] for each in table["organs"]] == ["liver", "spleen", "spine"]
    assert liver["volume_ml"] == pytest.approx(6 * 40 * 40 * 2 / 1000)
    assert liver["mean_before"] == pytest.approx(100, abs=0.5)
    assert liver["noise_before"] == pytest.approx(10, rel=0.05)
    assert table["reference"] == "muscle"
    assert table["reference_before"]["mean"] == pytest.approx(50, abs=1)
    assert liver["cnr_before"] == pytest.approx(5, rel=0.1)
    assert (liver["cut_off"], row(table, "spleen")["cut_off"]) == (False, True)
    assert liver["mean_after"] is liver["shift"] is liver["moved"] is table["reference_after"] is None
    assert table["research_use_only"] is True


def test_before_and_after() -> None:
    table = measure_organs(labels(), scan(), scan(noise=4, seed=1))
    liver = row(table, "liver")
    assert liver["noise_after"] == pytest.approx(4, rel=0.05)
    assert liver["cnr_after"] == pytest.approx(12.5, rel=0.1)
    assert liver["shift"] == pytest.approx(0, abs=0.5)
    assert liver["moved"] is False
    assert table["warnings"] == []


def test_another_organ_as_reference() -> None:
    table = measure_organs(labels(), scan(), reference="Spleen")
    assert table["reference"] == "spleen"
    assert row(table, "liver")["cnr_before"] == pytest.approx(4, rel=0.1)
    with pytest.raises(InputError, match="reference: unknown organ 'spleeen'"):
        measure_organs(labels(), scan(), reference="spleeen")


def test_an_organ_that_moved_more_than_its_noise_allows() -> None:
    table = measure_organs(labels(), scan(), scan(liver=103, noise=4, seed=1))
    assert row(table, "liver")["moved"] is True
    assert row(table, "liver")["shift"] == pytest.approx(3, abs=0.5)
    assert row(table, "spleen")["moved"] is False
    (warning,) = table["warnings"]
    assert warning.startswith("liver: the mean moved by +")


def test_what_noise_allows_grows_with_its_coarseness() -> None:
    """Removing coarse noise also removes its mean over the organ, so the same shift is less significant."""
    before = scan(noise=0)
    coarse = np.kron(np.random.default_rng(3).normal(0, 12, (2, 12, 12)), np.ones((4, 10, 10)))
    noisy = Volume((before.hu + coarse).astype(np.float32), SPACING)
    liver = row(measure_organs(labels(), noisy, before), "liver")
    assert liver["shift_limit"] > 4
    assert liver["moved"] is False


def test_uneven_slices_have_no_volume() -> None:
    table = measure_organs(labels(), scan(even=False))
    assert row(table, "liver")["volume_ml"] is None
    assert "volumes are not measured" in table["warnings"][-1]


def test_no_organ_and_another_grid() -> None:
    empty = measure_organs(np.zeros((8, 120, 120), np.uint8), scan())
    assert (empty["organs"], empty["warnings"]) == ([], ["no organ was found"])
    with pytest.raises(InputError, match="different grid"):
        measure_organs(labels(), scan(), scan().part(range(3)))


def test_it_can_be_cancelled() -> None:
    with pytest.raises(Cancelled):
        measure_organs(labels(), scan(), cancelled=lambda: True)


def test_csv_and_json_hold_the_same_numbers() -> None:
    table = measure_organs(labels(), scan(), scan(noise=4, seed=1))
    lines = list(csv.DictReader(io.StringIO(as_csv(table))))
    assert tuple(lines[0]) == COLUMNS
    assert set(COLUMNS) == set(json.loads(json.dumps(table))["organs"][0])
    assert float(lines[0]["noise_after"]) == row(table, "liver")["noise_after"]
    assert next(csv.DictReader(io.StringIO(as_csv(measure_organs(labels(), scan())))))["mean_after"] == ""


def test_the_text_marks_what_is_no_plain_number() -> None:
    table = measure_organs(labels(), scan(), scan(liver=103, noise=4, seed=1))
    row(table, "liver")["noise_is_bound"] = True
    head, liver, spleen, _ = as_text(table).splitlines()
    assert head.split()[:2] == ["organ", "volume,"]
    assert liver.count("<") == 2
    assert liver.endswith("!")
    assert ">" in spleen.split()[1]
    assert "->" not in as_text(measure_organs(labels(), scan()))
