"""Labels by slice from ranges, and reading a collection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.core.errors import InputError
from bioatt_training.cli import main
from bioatt_training.priors.labelled import FINE_GRID, label_ranges, load_labelled
from bioatt_training.priors.rows import joined

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


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """Two patients, one with two files, as the collection's folder lays them out."""
    for folder in ("volumes", "slices"):
        (tmp_path / folder).mkdir()
    for name, slices in (("volumes/a.nrrd", 4), ("volumes/b.nrrd", 3), ("slices/c.nrrd", 1)):
        hu = np.full((slices, 40, 50), -1000, np.int16)
        hu[:, 10:30, 15:35] = 40
        image = sitk.GetImageFromArray(hu)
        image.SetSpacing((5, 5, 5))
        sitk.WriteImage(image, str(tmp_path / name))
    (tmp_path / "SOURCES.md").write_text(
        "| file | patient |\n|---|---|\n| volumes/a.nrrd | P1 | x |\n| volumes/b.nrrd | P1 | x |\n"
    )
    (tmp_path / "slices.csv").write_text("file,patient\nslices/c.nrrd,P2\n")
    (tmp_path / "organs.csv").write_text(
        "file,organ,first_slice,last_slice\nvolumes/a.nrrd,liver,0,1\nvolumes/b.nrrd,spine,0,2\nslices/c.nrrd,lungs,0,0\n"
    )
    (tmp_path / "regions.csv").write_text(
        "file,region\nvolumes/a.nrrd,abdomen\nvolumes/b.nrrd,neck\nslices/c.nrrd,chest\n"
    )
    return tmp_path


def test_a_file_in_the_place_of_the_output_folder_is_said(collection: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = collection / "text.txt"
    text.write_text("mine")
    assert main(["prior", str(collection), str(text)]) == 2
    assert "text.txt is a file: name a folder" in capsys.readouterr().err
    assert text.read_text() == "mine"


def test_reading_a_collection(collection: Path, tmp_path: Path) -> None:
    cache = tmp_path / "images.npz"
    data = load_labelled(collection, PAPER, cache)
    assert len(data) == 8
    assert data.images.shape == (8, FINE_GRID, FINE_GRID)
    by_file = {name: data.where(data.files == name) for name in np.unique(data.files)}
    assert set(by_file["volumes/b.nrrd"].patients) == {"P1"}
    assert by_file["volumes/a.nrrd"].presence[:, LIVER].tolist() == [True, True, False, False]
    np.testing.assert_allclose(by_file["slices/c.nrrd"].target[0, PAPER.descriptors.index("lungs")], 1)
    np.testing.assert_allclose(by_file["volumes/a.nrrd"].target[3], 1 / 17)
    again = load_labelled(collection, PAPER, cache)
    np.testing.assert_array_equal(again.images, data.images)
    assert len(joined([data, again])) == 16


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no organs\.csv"):
        load_labelled(tmp_path, PAPER)
