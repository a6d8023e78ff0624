"""The bank: every slice of the collection with its own noise, prior and patient, and the judging of a model on it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bioatt.errors import InputError
from bioatt.phantom import torso
from bioatt.volume import Volume, write_volume
from bioatt_training.bank import Bank, build_bank, collection
from bioatt_training.evaluate import evaluate, table

SOURCES = """# Collection
| file | patient | collection | licence | z,y,x | spacing z,y,x mm | slice thickness mm | kernel | kVp | noise HU |
|---|---|---|---|---|---|---|---|---|---|
| volumes/a.nrrd | A 1 | X | CC BY | 2x128x128 | 5x3x3 | 5.0 | B30f | 120 | 10 |
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
def bank(data):
    folder = data / "bank"
    build_bank(data, data / "split.json", folder, phantoms=0, realisations=2, most_slices=5, seed=1)
    return Bank(folder)


def test_the_collection_names_file_patient_and_kernel(data):
    first, second = collection(data)
    assert (first.path.name, first.patient, first.kernel, first.thickness_mm) == ("a.nrrd", "A 1", "B30f", 5.0)
    assert (second.path.name, second.patient, second.kernel, second.thickness_mm) == ("b.nrrd", "B", None, 2.0)


def test_a_folder_that_is_no_collection_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"SOURCES\.md"):
        list(collection(tmp_path))


@pytest.mark.slow
def test_parts_follow_the_split_and_training_slices_come_twice(bank):
    assert [(one.patient, one.part) for one in bank.slices] == [("A 1", "train")] * 4 + [("B", "test")]
    np.testing.assert_allclose(bank.prior.sum(axis=1), 1, rtol=1e-4)


@pytest.mark.slow
def test_targets_are_the_scan_and_noise_is_a_quarter_doses(data, bank):
    from bioatt.volume import read_volume

    scan = read_volume(data / "volumes" / "a.nrrd").hu
    for realisation in (0, 2):
        target, noise = bank.pair(realisation)
        np.testing.assert_array_equal(target, scan[0])
        soft = (target > 0) & (target < 100)
        assert noise[soft].std() == pytest.approx(12 * np.sqrt(3), rel=0.35)
    assert (bank.pair(0)[1] != bank.pair(2)[1]).any()


@pytest.mark.slow
def test_a_model_is_judged_by_patient(bank):
    result = evaluate("auto", bank, "test", 0.25)
    assert [(row["patient"], row["slices"]) for row in result["patients"]] == [("B", 1)]
    row = result["patients"][0]
    assert row["psnr_db"] > row["psnr_low_db"]
    assert result["mean"]["psnr_gain_db"][0] == pytest.approx(row["psnr_db"] - row["psnr_low_db"])
    assert "| B | 1 |" in table(result)
