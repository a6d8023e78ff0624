"""Each layout is recognised with its scans and pairs; what does not fit is listed with the reason."""

from __future__ import annotations

import numpy as np
import pytest

from bioatt.core.errors import InputError
from bioatt.core.volume import Volume
from bioatt.io.images import write_volume
from bioatt_training.data.layouts import find_scans
from bioatt_training.data.scans import pseudonym, with_patients


def reasons(listing):
    return [why for _, why in listing.left_out]


@pytest.mark.parametrize("order", ["full_1mm/{p}/full_1mm", "1mm B30/full_1mm/{p}/full_1mm", "{p}/full_1mm"])
def test_mayo_folders_become_pairs(tmp_path, series, pair, order):
    for patient in ("L067", "L096"):
        low, full = pair()
        path = order.format(p=patient)
        series(tmp_path / path, full, suffix=".IMA")
        series(tmp_path / path.replace("full", "quarter"), low, suffix=".IMA")
    listing = find_scans(tmp_path)
    assert listing.kind == "Mayo 2016"
    assert [(one.patient, one.low is not None, one.thickness_mm) for one in listing.scans] == [
        ("L067", True, 1.0),
        ("L096", True, 1.0),
    ]
    assert not listing.left_out


def test_mayo_keeps_thickness_and_kernel_apart(tmp_path, series, pair):
    low, full = pair()
    for kind in ("full_1mm", "full_3mm", "full_3mm_sharp"):
        series(tmp_path / kind / "L067" / kind, full, suffix=".IMA")
        series(tmp_path / kind.replace("full", "quarter") / "L067" / kind.replace("full", "quarter"), low)
    listing = find_scans(tmp_path)
    assert sorted((one.thickness_mm, one.kernel) for one in listing.scans) == [(1, "B30"), (3, "B30"), (3, "D45")]
    assert all(one.low for one in listing.scans)


def test_mayo_low_dose_alone_is_named(tmp_path, series, pair):
    low, full = pair()
    series(tmp_path / "full_1mm" / "L067", full)
    series(tmp_path / "quarter_1mm" / "L096", low)
    listing = find_scans(tmp_path)
    assert [(one.patient, one.low) for one in listing.scans] == [("L067", None)]
    assert sorted(reasons(listing)) == [
        "full dose without its low dose: used alone, with noise inserted",
        "low dose without its full dose",
    ]


def test_tcia_folders_become_pairs_with_the_dose_of_their_region(tmp_path, series, pair):
    low, full = pair()
    for patient in ("C002", "L004"):
        study = tmp_path / "LDCT-and-Projection-data" / patient / "12-23-2021-NA-NA-62464"
        series(study / "1.000000-Full dose images-75560", full)
        series(study / "1.000000-Low Dose Images-39882", low)
        (study / "1.000000-Full dose projections-24362").mkdir()
        (study / "1.000000-Full dose projections-24362" / "1-1.dcm").write_bytes(b"not an image")
    listing = find_scans(tmp_path)
    assert listing.kind == "LDCT-and-Projection-data"
    assert [(one.patient, one.dose, one.low is not None) for one in listing.scans] == [
        ("C002", 0.10, True),
        ("L004", 0.25, True),
    ]
    assert reasons(listing) == ["projections, not images"] * 2


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_pairs_of_files_are_matched_by_name(tmp_path, pair, suffix):
    for side in ("low", "full"):
        (tmp_path / side).mkdir()
    for number in range(2):
        low, full = pair(number)
        write_volume(Volume(low), tmp_path / "low" / f"case{number}_low{suffix}")
        write_volume(Volume(full), tmp_path / "full" / f"case{number}_full{suffix}")
    write_volume(Volume(low), tmp_path / "low" / f"odd{suffix}")
    listing = find_scans(tmp_path)
    assert [one.name for one in listing.scans] == ["case0", "case1"]
    assert reasons(listing) == ["low dose without its full dose"]


def test_pairs_of_dicom_folders_are_matched_by_name(tmp_path, series, pair):
    low, full = pair()
    series(tmp_path / "quarter" / "a", low, patient="SECRET-1")
    series(tmp_path / "full" / "a", full, patient="SECRET-1")
    series(tmp_path / "quarter" / "b", low, patient="SECRET-2")
    series(tmp_path / "full" / "b", full, patient="SECRET-3")
    listing = find_scans(tmp_path)
    assert [(one.name, one.patient) for one in listing.scans] == [("a", pseudonym("SECRET-1"))]
    assert "a different patient than its counterpart" in reasons(listing)
    assert "SECRET" not in repr(listing)


def test_single_scans_of_files_and_dicom(tmp_path, series, pair):
    low, full = pair()
    write_volume(Volume(full), tmp_path / "a.nrrd")
    series(tmp_path / "b", low, patient="X", suffix=".1234")
    series(tmp_path / "localiser", full[:1], patient="X")
    (tmp_path / "notes.txt").write_text("no scan")
    listing = find_scans(tmp_path)
    assert listing.kind == "single scans"
    assert {(one.patient, one.low) for one in listing.scans} == {("a", None), (pseudonym("X"), None)}
    assert reasons(listing) == ["a series of 1 images: a localiser or a fragment"]


def test_mixed_patients_in_one_folder_are_left_out(tmp_path, series, pair):
    low, full = pair()
    series(tmp_path / "a", low, patient="X")
    series(tmp_path / "a", full, patient="Y", suffix=".IMA")
    write_volume(Volume(full), tmp_path / "fine.nrrd")
    listing = find_scans(tmp_path)
    assert [one.name for one in listing.scans] == ["fine.nrrd"]
    assert any("mixed patients (2 in one folder)" in why for why in reasons(listing))


def test_two_series_of_one_folder_are_two_scans(tmp_path, series, pair):
    low, full = pair()
    series(tmp_path / "a", low, patient="X")
    series(tmp_path / "a", full, patient="X", suffix=".IMA")
    scans = find_scans(tmp_path).scans
    assert len(scans) == 2
    np.testing.assert_array_equal(sorted(one.full.read().hu.sum() for one in scans), sorted([low.sum(), full.sum()]))


@pytest.mark.parametrize("content", ["nothing", "text", "damaged"])
def test_a_folder_without_scans_is_refused(tmp_path, content):
    if content == "text":
        (tmp_path / "readme.txt").write_text("no scans here")
    if content == "damaged":
        (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"rubbish")
    with pytest.raises(InputError, match="no usable scan"):
        find_scans(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        find_scans(tmp_path / "nowhere")


def test_patients_from_a_table(tmp_path, pair):
    for name in ("a", "b"):
        write_volume(Volume(pair()[1]), tmp_path / f"{name}.nrrd")
    table = tmp_path / "patients.csv"
    table.write_text("file,patient\na.nrrd,1\nb.nrrd,1\n")
    listing = with_patients(find_scans(tmp_path), table)
    assert {one.patient for one in listing.scans} == {"1"}
    table.write_text("file,patient\na.nrrd,1\n")
    with pytest.raises(InputError, match=r"no patient for b\.nrrd"):
        with_patients(find_scans(tmp_path), table)
    table.write_text("name\na.nrrd\n")
    with pytest.raises(InputError, match="columns file and patient"):
        with_patients(find_scans(tmp_path), table)
