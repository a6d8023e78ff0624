"""One scan to its results: what is written, what counts as done, and how failures are reported."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from bioatt.io.images import read_volume
from bioatt.io.locks import locked
from bioatt.service.facts import Facts
from bioatt.service.finding import Series, find_series
from bioatt.service.results import WORK, Results, index_of
from bioatt.service.rules import Rule
from bioatt.service.studies import Engine, denoise_series


def files_of(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_results_of_a_dicom_series_are_a_derived_series_a_picture_and_a_manifest(tree, denoised, tmp_path):
    series = find_series(tree).series[0]
    outcome = denoised(series)
    assert (outcome.status, outcome.reason) == ("done", "")
    assert outcome.folder == tmp_path / "out" / "a" / "series_3"
    slices = [f"dicom/{number:04d}.dcm" for number in (1, 2, 3)]
    assert files_of(outcome.folder) == [*slices, "manifest.json", "preview.webp"]
    before, after = read_volume(series.files), read_volume(outcome.folder / "dicom")
    assert not np.array_equal(before.hu, after.hu)
    manifest = outcome.manifest
    assert manifest["rule"] == "small"
    (volume,) = manifest["volumes"]
    assert len(volume["model"]["sha256"]) == len(volume["inputs"]["sha256"]) == 64
    assert volume["inputs"]["files"] == 3
    assert volume["strength"] == 0.75
    assert "SECRET" not in json.dumps(manifest).upper()


def test_the_formats_of_the_rule_are_written(tree, denoised):
    outcome = denoised(find_series(tree).series[1], formats=("nrrd", "nii.gz", "mha"))
    written = [name for name in files_of(outcome.folder) if name.startswith("denoised")]
    assert written == ["denoised.mha", "denoised.nii.gz", "denoised.nrrd"]
    refused = denoised(find_series(tree).series[1], formats=("dicom",))
    assert refused.status == "failed"
    assert "needs DICOM input" in refused.reason
    assert not refused.ours


def test_each_phase_of_a_series_is_denoised(series_writer, denoised, tmp_path):
    positions = [[-10.5, -12.25, 100 + 2.5 * (k // 2)] for k in range(6)]
    series_writer.write_series(
        tmp_path / "in",
        series_writer.ct_like(6, 32, 32),
        ImagePositionPatient=lambda k: positions[k],
        AcquisitionNumber=lambda k: k % 2 + 1,
    )
    outcome = denoised(find_series(tmp_path / "in").series[0])
    assert {name.split("/")[0] for name in files_of(outcome.folder)} == {
        "dicom-1",
        "dicom-2",
        "manifest.json",
        "preview-1.webp",
        "preview-2.webp",
    }
    assert ["acquisition 1" in volume["phase"] for volume in outcome.manifest["volumes"]] == [True, False]


def test_done_work_is_recognised_by_content_whatever_it_is_called(tree, denoised, tmp_path):
    first = denoised(find_series(tree).series[0])
    (tree / "a").rename(tree / "renamed")
    for number, file in enumerate(sorted((tree / "renamed").iterdir())):
        file.rename(file.with_name(f"{9 - number}.ima"))
    series = find_series(tree).series
    again = denoised(next(one for one in series if one.name == "renamed/series_3"))
    assert (again.status, again.folder) == ("done before", first.folder)
    assert not (tmp_path / "out" / "renamed").exists()


def test_other_settings_content_or_model_is_other_work_and_replaces_nothing(tree, denoised, make_model, tmp_path):
    series = find_series(tree).series[1]
    first = denoised(series)
    kept = {name: (first.folder / name).read_bytes() for name in files_of(first.folder)}
    stronger = denoised(series, strength=1.0)
    assert stronger.status == "done"
    assert stronger.folder.parent == first.folder.parent
    assert stronger.folder != first.folder
    make_model(seed=1)  # other weights under the same name
    engine, out = Engine("cpu"), tmp_path / "out"
    rules = (Rule("other", model=str(tmp_path / "tiny.safetensors")),)
    assert denoise_series(series, rules, Results(out), engine).status == "done"
    assert {name: (first.folder / name).read_bytes() for name in files_of(first.folder)} == kept


def test_results_that_are_no_longer_whole_are_made_again(tree, denoised):
    series = find_series(tree).series[0]
    first = denoised(series)
    next((first.folder / "dicom").iterdir()).unlink()
    again = denoised(series)
    assert again.status == "done"
    assert len([*(again.folder / "dicom").iterdir()]) == 3


def test_what_was_denoised_before_and_what_no_rule_meets_is_left_out(tree, denoised, tmp_path):
    outcome = denoised(find_series(tree).series[0], formats=("dicom", "nrrd"))
    for series in find_series(outcome.folder).series:
        left = denoised(series)
        assert left.status == "left out"
        assert "already denoised" in left.reason
    series = find_series(tree).series[0]
    assert denoised(series, rules=(Rule("thin", ranges={"thickness_mm": (0, 1)}),)).reason == "no rule applies"
    assert denoised(series, rules=(Rule("all", skip=True),)).reason == "skipped by all"


@pytest.mark.parametrize("kind", ["damaged", "gone", "unknown model"])
def test_a_scan_that_fails_leaves_nothing_and_says_why(tree, denoised, tmp_path, kind):
    series = find_series(tree).series[1]
    rules = None
    if kind == "damaged":
        series.files[0].write_bytes(series.files[0].read_bytes()[:-100])
    elif kind == "gone":
        series.files[0].unlink()
    else:
        rules = (Rule("x", model="nosuch"),)
    outcome = denoised(series, rules=rules)
    assert outcome.status == "failed"
    assert not outcome.ours
    assert outcome.reason
    assert files_of(tmp_path / "out") == []


def test_an_internal_error_is_told_as_ours_without_its_text(tree, denoised, monkeypatch):
    def broken(*_):
        raise KeyError("Secret^Person")

    monkeypatch.setattr("bioatt.service.studies.each_volume", broken)
    outcome = denoised(find_series(tree).series[0])
    assert (outcome.status, outcome.ours) == ("failed", True)
    assert "KeyError" in outcome.reason
    assert "Secret" not in outcome.reason


def test_work_that_another_process_does_is_not_done_twice(tree, denoised, tmp_path, monkeypatch):
    series = find_series(tree).series[0]
    monkeypatch.setattr("bioatt.service.studies.key_of", lambda *_: "k" * 64)
    (tmp_path / "out" / WORK).mkdir(parents=True)
    with locked(tmp_path / "out" / WORK / f"{'k' * 16}.lock", "it"):
        outcome = denoised(series)
    assert outcome.status == "left out"
    assert "another process" in outcome.reason
    assert denoised(series).status == "done"


def test_what_a_killed_run_left_half_made_is_removed(tree, denoised, tmp_path, monkeypatch):
    monkeypatch.setattr("bioatt.service.studies.key_of", lambda *_: "k" * 64)
    half = tmp_path / "out" / WORK / ("k" * 16)
    (half / "dicom").mkdir(parents=True)
    (half / "dicom" / "0001.dcm").write_bytes(b"half")
    outcome = denoised(find_series(tree).series[1])
    assert outcome.status == "done"
    assert files_of(outcome.folder) == ["denoised.nrrd", "manifest.json", "preview.webp"]
    assert [*(tmp_path / "out" / WORK).iterdir()] == []


def test_a_taken_name_is_never_replaced(tree, denoised, tmp_path):
    (tmp_path / "out" / "a").mkdir(parents=True)
    (tmp_path / "out" / "a" / "series_3").write_text("mine")
    outcome = denoised(find_series(tree).series[0])
    assert outcome.status == "done"
    assert outcome.folder.name.startswith("series_3-")
    assert (tmp_path / "out" / "a" / "series_3").read_text() == "mine"


def test_index_finds_whole_results_alone(tree, denoised, tmp_path):
    outcome = denoised(find_series(tree).series[1])
    shutil.copytree(outcome.folder, tmp_path / "out" / "z" / "damaged")
    (tmp_path / "out" / "z" / "damaged" / "manifest.json").write_text('{"key": "x"}')
    assert [*index_of(tmp_path / "out").values()] == [outcome.folder]


def test_a_folder_that_does_not_exist_is_told(denoised, tmp_path):
    outcome = denoised(Series("x", (tmp_path / "gone.nrrd",), Facts()))
    assert outcome.status == "failed"
    assert "No such file" in outcome.reason
