"""Which scans are found in trees and lists, and how damaged files are handled."""

from __future__ import annotations

import os
import shutil

import pydicom
import pytest

from bioatt.core.errors import InputError
from bioatt.io.images import read_volume
from bioatt.service.facts import Facts
from bioatt.service.finding import find_series


def names(found):
    return [series.name for series in found.series]


def test_each_series_and_volume_file_of_a_tree_is_found_with_what_rules_ask_of_it(tree):
    found = find_series(tree)
    assert names(found) == ["a/series_3", "b/c/scan", "b/series_3"]
    assert found.series[0].facts == Facts("Abdomen", "B30f", "CT", 3.0, 4.0)
    assert found.series[1].facts == Facts("scan", None, "CT", None, None)
    assert [len(series.files) for series in found.series] == [3, 1, 3]
    assert all(read_volume(series.files).shape[0] == 3 for series in found.series)


def test_series_in_one_folder_and_one_series_in_several_folders(tree, series_writer):
    series_writer.write_series(tree / "a", SeriesNumber=7, name="other{}.dcm")
    for number, file in enumerate(sorted((tree / "b").glob("*.dcm"))):
        (tree / "b" / f"part{number}").mkdir()
        file.rename(tree / "b" / f"part{number}" / file.name)
    found = find_series(tree)
    assert names(found) == ["a/series_3", "a/series_7", "b/c/scan", "b/series_3"]
    assert read_volume(found.series[3].files).shape[0] == 3


def test_what_is_no_ct_is_counted_not_denoised(tree, series_writer):
    series_writer.write_series(tree / "mr", Modality="MR")
    series_writer.write_series(tree / "scout", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], keep=[0])
    (tree / "notes.pdf").write_bytes(b"%PDF")
    (tree / ".hidden.nrrd").write_bytes(b"")
    found = find_series(tree)
    assert names(found) == ["a/series_3", "b/c/scan", "b/series_3"]
    assert found.left_out == {"modality MR": 5, "localizer": 1}


@pytest.mark.parametrize("harm", ["cut short", "empty", "link to nothing"])
def test_a_damaged_slice_is_not_left_out_of_its_series(tree, harm):
    slices = sorted((tree / "a").iterdir())
    content = slices[1].read_bytes()
    if harm == "link to nothing":
        slices[1].unlink()
        slices[1].symlink_to(tree / "gone.dcm")
    else:
        slices[1].write_bytes(content[:300] if harm == "cut short" else b"")
    found = find_series(tree)
    assert names(found) == ["a/series_3", "b/c/scan", "b/series_3"]
    with pytest.raises(InputError):
        read_volume(found.series[0].files)
    assert read_volume(found.series[2].files).shape[0] == 3


def test_a_damaged_file_alone_in_its_folder_is_a_scan_that_cannot_be_read(tree):
    slices = sorted((tree / "a").iterdir())
    for file in slices[1:]:
        file.unlink()
    slices[0].write_bytes(slices[0].read_bytes()[:300])
    found = find_series(tree)
    assert names(found) == [f"a/{slices[0].name}", "b/c/scan", "b/series_3"]
    with pytest.raises(InputError, match="truncated"):
        read_volume(found.series[0].files)


def test_one_series_whose_anonymiser_left_the_uid_blank_is_told_by_its_folder(tree):
    for file in [*(tree / "a").glob("*.dcm"), *(tree / "b").glob("*.dcm")]:
        image = pydicom.dcmread(file)
        image.SeriesInstanceUID = image.StudyInstanceUID = ""
        image.save_as(file)
    assert names(find_series(tree)) == ["a/series_3", "b/c/scan", "b/series_3"]


def test_links_in_a_circle_end(tree):
    (tree / "b" / "up").symlink_to(tree)
    assert len(find_series(tree).series) == 3


def test_a_single_file_a_series_folder_and_a_dicomdir(tree, series_writer):
    assert names(find_series(tree / "b" / "c" / "scan.nrrd")) == ["scan"]
    assert names(find_series(tree / "a")) == ["series_3"]
    index = pydicom.dataset.FileMetaDataset()
    index.MediaStorageSOPClassUID = pydicom.uid.MediaStorageDirectoryStorage
    index.MediaStorageSOPInstanceUID, index.TransferSyntaxUID = "1.2.3", pydicom.uid.ExplicitVRLittleEndian
    directory = pydicom.Dataset()
    directory.file_meta = index
    directory.save_as(tree / "DICOMDIR", enforce_file_format=True)
    assert names(find_series(tree / "DICOMDIR")) == ["a/series_3", "b/c/scan", "b/series_3"]


def test_lists_name_places_relative_to_themselves(tree, tmp_path):
    listed = tmp_path / "studies.txt"
    listed.write_text("# a list\nin/b\n\nin/b/c/scan.nrrd\nin/gone\n", encoding="utf-8")
    assert names(find_series(listed)) == ["b/c/scan", "b/series_3", "gone"]
    table = tmp_path / "studies.csv"
    table.write_text("id,path,name\n1,in/a,first\n2,in/b/c/scan.nrrd,second/one\n", encoding="utf-8")
    assert names(find_series(table)) == ["first/series_3", "second/one"]
    table.write_text("path,name\nin/a,one\nin/b,one\n", encoding="utf-8")
    assert names(find_series(table)) == ["one/c/scan", "one/series_3", "one/series_3-2"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("l.csv", "file\nx\n", "no column 'path'"),
        ("l.csv", "path,name\nin/a,../../etc\n", "points outside the output folder"),
        ("l.csv", "path,name\nin/a,/etc\n", "points outside the output folder"),
        ("l.txt", "# nothing\n", "names no scan"),
        ("l.txt", b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(tree, tmp_path, name, text, said):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=said):
        find_series(tmp_path / name)


def test_a_place_without_ct_is_refused_with_what_is_there(tree, series_writer, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        find_series(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="neither DICOM"):
        find_series(tmp_path / "empty")
    series_writer.write_series(tmp_path / "mr", Modality="MR")
    with pytest.raises(InputError, match="5 x modality MR"):
        find_series(tmp_path / "mr")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_may_not_be_listed_is_told(tree):
    (tree / "a").chmod(0)
    try:
        found = find_series(tree)
    finally:
        (tree / "a").chmod(0o700)
    assert names(found)[0] == "a"


def test_a_copy_of_a_tree_gives_one_series_with_copies(tree):
    shutil.copytree(tree / "a", tree / "copy")
    found = find_series(tree)
    assert names(found) == ["b/c/scan", "b/series_3", "series_3"]
    volume = read_volume(found.series[2].files)
    assert volume.shape[0] == 3
    assert any("copies" in line for line in volume.warnings)
