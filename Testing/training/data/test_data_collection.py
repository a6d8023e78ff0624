"""The CT collection: its tables, and the bank that `prepare` makes from it, with simulated torsos."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bioatt.core.errors import InputError
from bioatt.core.volume import Volume
from bioatt.io.images import read_volume, write_volume
from bioatt.simulation.phantom import torso
from bioatt_training.cli import main
from bioatt_training.data.bank import Bank
from bioatt_training.data.collection import collection
from bioatt_training.data.layouts import find_scans

SOURCES = """# Collection
| file | patient | collection | licence | z,y,x | spacing z,y,x mm | slice thickness mm | kernel | kVp | noise HU |
|---|---|---|---|---|---|---|---|---|---|
| volumes/a.nrrd | A 1 | X | CC BY | 2x128x128 | 5x3x3 | 5.0 | B30f | 120 | 10 |
| slices/*.nrrd (1) | 1 patient | X | CC BY | one slice each | slices.csv | 2 | many | 120 | 10 |
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A collection of one volume (patient A 1) and one slice (patient B), torsos with 12 HU of noise."""
    folder = tmp_path_factory.mktemp("collection")
    (folder / "volumes").mkdir()
    (folder / "slices").mkdir()
    body, _ = torso(3, 3, 128)
    noisy = body.hu + np.random.default_rng(0).normal(scale=12, size=body.shape)
    scan = Volume(np.rint(noisy).astype(np.int16), spacing=body.spacing)
    write_volume(scan.part(range(0, 2)), folder / "volumes" / "a.nrrd")
    write_volume(scan.part(range(2, 3)), folder / "slices" / "b.nrrd")
    (folder / "SOURCES.md").write_text(SOURCES)
    (folder / "slices.csv").write_text(
        "file,patient,collection,licence,pixel_mm,thickness_mm,kernel,kVp,noise_hu\n"
        f"slices/b.nrrd,B,X,CC BY,{body.pixel_mm},2.0,,120,10\n"
    )
    (folder / "split.json").write_text(json.dumps({"test": ["B"], "validation": []}))
    return folder


@pytest.fixture(scope="module")
def bank(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "bank"
    options = ["--split", str(data / "split.json"), "--target", "softened"]
    assert main(["prepare", str(data), str(folder), *options, "--prior", "uniform", "--fast"]) == 0
    return Bank(folder)


def test_the_collection_names_file_patient_and_kernel(data):
    first, second = collection(data)
    assert (first.name, first.patient, first.kernel, first.thickness_mm) == ("volumes/a.nrrd", "A 1", "B30f", 5.0)
    assert (second.name, second.patient, second.kernel, second.thickness_mm) == ("slices/b.nrrd", "B", None, 2.0)


def test_a_folder_that_is_no_collection_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"SOURCES\.md"):
        collection(tmp_path)


def test_files_that_are_only_in_the_table_are_named(data, tmp_path):
    for name in ("SOURCES.md", "slices.csv"):
        (tmp_path / name).write_text((data / name).read_text())
    (tmp_path / "slices").mkdir()
    (tmp_path / "slices" / "b.nrrd").write_bytes((data / "slices" / "b.nrrd").read_bytes())
    listing = find_scans(tmp_path)
    assert [one.name for one in listing.scans] == ["b.nrrd"]
    assert listing.left_out == [("volumes/a.nrrd", "listed in the table, but missing")]


@pytest.mark.slow
def test_parts_follow_the_split(bank):
    assert [(one.patient, one.part) for one in bank.slices] == [("A 1", "train")] * 2 + [("B", "test")]
    assert [(one.kernel, one.thickness_mm) for one in bank.slices] == [("B30f", 5.0)] * 2 + [(None, 2.0)]
    assert bank.header["target"] == "softened:B10"


@pytest.mark.slow
def test_a_quarter_doses_noise_adds_to_the_scan_as_it_is(data, bank):
    for index, scan in enumerate(read_volume(data / "volumes" / "a.nrrd").hu):
        full, noise = bank.pair(index)
        np.testing.assert_array_equal(full, scan)
        soft = (full > 0) & (full < 100)
        assert noise[soft].std() == pytest.approx(12 * np.sqrt(3), rel=0.35)


@pytest.mark.slow
def test_a_softened_target_has_less_noise_than_the_scan_at_the_same_hu(bank):
    for index in range(3):
        full, target = bank.pair(index)[0], bank.target(index)
        air = (slice(0, 12), slice(0, None))
        assert target[air].std() < 0.95 * full[air].std()  # B10 removes little at pixels of 3 mm
        assert target.mean() == pytest.approx(full.mean(), abs=0.5)
