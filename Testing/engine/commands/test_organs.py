"""`bioatt organs`: tables and segmentations from label files, and rejected inputs."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from bioatt.anatomy.terminology import segments_of
from bioatt.cli import main
from bioatt.io.images import read_volume, write_volume
from bioatt.io.seg_nrrd import write_segmentation

LIVER = 9


@pytest.fixture
def case(make_volume, tmp_path):
    """Folder with scan.nrrd, denoised.nrrd (less noise) and labels.seg.nrrd (a liver), and its labels."""
    scan = make_volume(slices=5, height=96, width=96)
    labels = np.zeros(scan.shape, np.uint8)
    labels[1:5, 30:70, 20:50] = LIVER
    write_volume(scan, tmp_path / "scan.nrrd")
    write_volume(make_volume(slices=5, height=96, width=96, noise=8.0), tmp_path / "denoised.nrrd")
    write_segmentation(labels, segments_of([LIVER]), scan, tmp_path / "labels.seg.nrrd", note="")
    return tmp_path, labels


@pytest.fixture
def organs(case, capfd):
    def run(*options: str) -> tuple[int, str, str]:
        status = main(["organs", str(case[0] / "scan.nrrd"), *options])
        return status, *capfd.readouterr()

    return run


def labelled(folder) -> tuple[str, str]:
    return "--segmentation", str(folder / "labels.seg.nrrd")


def test_a_table_before_and_after(case, organs):
    folder, _ = case
    status, out, err = organs(*labelled(folder), "--denoised", str(folder / "denoised.nrrd"))
    assert status == 0, err
    assert out.splitlines()[1].startswith("liver")
    status, out, _ = organs(*labelled(folder), "--denoised", str(folder / "denoised.nrrd"), "--json", "-")
    table = json.loads(out)
    (liver,) = table["organs"]
    assert liver["noise_before"] == pytest.approx(20, rel=0.1)
    assert liver["noise_after"] == pytest.approx(8, rel=0.1)
    assert table["anatomy"] == "segmentation"


def test_files_beside_each_other(case, organs):
    folder, labels = case
    names = {kind: folder / f"out.{kind}" for kind in ("json", "csv", "seg.nrrd")}
    wanted = ["--json", str(names["json"]), "--csv", str(names["csv"])]
    status, out, _ = organs(str(names["seg.nrrd"]), *labelled(folder), *wanted)
    assert status == 0
    assert "liver" in out
    np.testing.assert_array_equal(read_volume(names["seg.nrrd"], hu=False).hu, labels)
    (row,) = csv.DictReader(names["csv"].open())
    assert float(row["mean_before"]) == json.loads(names["json"].read_text())["organs"][0]["mean_before"]
    assert organs(str(names["seg.nrrd"]), *labelled(folder))[0] == 2, "nothing is replaced unasked"
    assert organs(str(names["seg.nrrd"]), *labelled(folder), "--overwrite")[0] == 0


def test_labels_come_back_in_the_files_own_axes(case, organs, tmp_path):
    folder, labels = case
    scan = read_volume(folder / "scan.nrrd")
    corner = scan.ijk_to_lps @ [scan.shape[2] - 1, 0, scan.shape[0] - 1, 1]
    turned = replace(scan, hu=scan.hu[::-1, :, ::-1].copy(), origin=tuple(corner[:3]), direction=np.diag([-1, 1, -1]))
    turned = replace(turned, sources=())
    write_volume(turned, folder / "scan.nrrd")
    assert organs(str(folder / "out.seg.nrrd"), *labelled(folder))[0] == 0
    np.testing.assert_array_equal(read_volume(folder / "out.seg.nrrd", hu=False).hu, labels[::-1, :, ::-1])


def test_dicom_seg_of_a_dicom_series(series_writer, tmp_path, capfd):
    hd = pytest.importorskip("highdicom")
    series_writer.write_series(tmp_path / "series", series_writer.ct_like(5, 48, 48))
    scan = read_volume(tmp_path / "series")
    labels = np.zeros(scan.shape, np.uint8)
    labels[1:4, 10:40, 10:40] = LIVER
    write_segmentation(labels, segments_of([LIVER]), scan, tmp_path / "labels.seg.nrrd", note="")
    out = tmp_path / "organs.dcm"
    assert main(["organs", str(tmp_path / "series"), str(out), *labelled(tmp_path)]) == 0, capfd.readouterr().err
    read = hd.seg.segread(out)
    assert read.number_of_segments == 1
    assert read.SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert int(read.NumberOfFrames) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["out.nii.gz"], "name the output .seg.nrrd or .dcm"),
        (["labels.seg.nrrd", "--overwrite"], "already an input"),
        (["out.dcm"], "needs a DICOM series"),
        (["--reference", "tongue"], "unknown organ 'tongue'"),
        (["--json", "-", "--csv", "-"], "cannot both go to standard output"),
        (["--denoised", "other.nrrd"], "compare scans on the same grid"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(case, organs, make_volume, options, words):
    folder, _ = case
    write_volume(make_volume(slices=3), folder / "other.nrrd")
    placed = [str(folder / part) if "." in part else part for part in options]
    status, _, err = organs(*placed, *labelled(folder))
    assert status == 2
    assert words in err
    assert err.count("\n") == 1


def test_strength_by_organ_from_a_label_file(case, denoise):
    folder, labels = case
    out = folder / "out.nrrd"
    wanted = ["--strength", "0", "--organ-strength", "liver=1", *labelled(folder), "--report", str(folder / "r.json")]
    status, err = denoise(folder / "scan.nrrd", out, *wanted)
    assert status == 0, err
    changed = read_volume(out).hu != read_volume(folder / "scan.nrrd").hu
    assert changed[labels > 0].mean() > 0.5
    assert not changed[0].any()
    assert json.loads((folder / "r.json").read_text())["organ_strength"] == {"liver": 1.0}
    status, err = denoise(folder / "scan.nrrd", folder / "labels.seg.nrrd", "--overwrite", *wanted[2:6])
    assert status == 2
    assert "an input of this command" in err[-1]
    status, err = denoise(folder / "scan.nrrd", folder / "new.nrrd", "--organ-strength", "liver=2")
    assert (status, len(err)) == (2, 1)
    assert not (folder / "new.nrrd").exists()
