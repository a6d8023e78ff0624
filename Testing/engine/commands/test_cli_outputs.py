"""Outputs never destroy existing files, and their paths are checked before any computation."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bioatt.cli import main
from bioatt.core.errors import InputError
from bioatt.inference.denoiser import Denoiser
from bioatt.io.files import is_series
from bioatt.io.images import read_volume, write_volume


@pytest.mark.parametrize("option", ["OUT", "--report"])
def test_a_file_that_is_there_is_replaced_only_when_asked(denoise, scan, tmp_path, monkeypatch, option):
    """In a folder with two scans, `bioatt denoise *.nrrd` names the second as the output."""
    other, report = tmp_path / "second.nrrd", tmp_path / "report.json"
    write_volume(read_volume(scan), other)
    before = other.read_bytes()
    arguments = (scan, other) if option == "OUT" else (scan, tmp_path / "out.nrrd", "--report", str(other))
    with monkeypatch.context() as patch:
        patch.setattr(Denoiser, "denoise", lambda *_, **__: pytest.fail("computed for nothing"))
        status, errors = denoise(*arguments)
    assert (status, len(errors)) == (2, 1)
    assert "second.nrrd already exists" in errors[0]
    assert "--overwrite" in errors[0]
    assert other.read_bytes() == before
    assert denoise(scan, other, "--report", str(report), "--overwrite")[0] == 0
    assert (read_volume(other).hu != read_volume(scan).hu).any()
    assert denoise(scan, other, "--report", str(report), "--overwrite")[0] == 0


def test_a_file_that_somebody_made_meanwhile_stays_and_so_does_the_result(denoise, scan, tmp_path, monkeypatch):
    output = tmp_path / "out.nii.gz"
    compute = Denoiser.denoise

    def slow(*args, **options):
        output.write_text("another run's")
        return compute(*args, **options)

    monkeypatch.setattr(Denoiser, "denoise", slow)
    status, errors = denoise(scan, output)
    assert (status, len(errors)) == (2, 1)
    (kept,) = tmp_path.glob(".bioatt-*.nii.gz")
    assert f"another run created out.nii.gz meanwhile: this run's result is kept as {kept.name}" in errors[0]
    assert output.read_text() == "another run's"
    assert (read_volume(kept).hu != read_volume(scan).hu).any()


def test_result_and_report_are_there_when_the_maps_cannot_be_written(denoise, scan, tmp_path, monkeypatch):
    from bioatt.commands import attention

    def full(*_, **__):
        raise InputError("the disk is full")

    monkeypatch.setattr(attention, "write_maps", full)
    options = ["--attention", str(tmp_path / "maps"), "--report", str(tmp_path / "report.json")]
    assert denoise(scan, tmp_path / "out.nrrd", *options)[0] == 2
    assert (tmp_path / "out.nrrd").is_file()
    assert (tmp_path / "report.json").is_file()


def test_maps_of_a_series_with_gaps_are_refused_before_the_work(denoise, gapped, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(Denoiser, "denoise", lambda *_, **__: pytest.fail("computed for nothing"))
    status, lines = denoise(gapped, tmp_path / "out", "--attention", str(tmp_path / "maps"))
    assert (status, len(lines)) == (2, 1), lines
    assert "attention maps (.nrrd) cannot represent" in lines[0]
    assert main(["attention", str(gapped), str(tmp_path / "maps")]) == 2
    assert "attention maps (.nrrd) cannot represent" in capfd.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["series", "tiny.safetensors"]


def test_the_output_never_replaces_a_file_of_the_engine(denoise, scan, make_volume, tmp_path):
    organs, other = tmp_path / "organs.nii.gz", tmp_path / "link.nii.gz"
    write_volume(make_volume(slices=3).with_hu(np.full((3, 72, 80), 5)), organs)
    other.symlink_to(organs)
    before = organs.read_bytes()
    for output in (organs, other):
        status, lines = denoise(scan, output, "--prior", f"segmentation:{organs}")
        assert (status, len(lines)) == (2, 1), lines
        assert "is an input of this command" in lines[0]
    assert organs.read_bytes() == before


def test_maps_of_another_scan_stay_unless_asked(denoise, scan, tmp_path, capfd):
    maps = tmp_path / "maps"
    maps.mkdir()
    (maps / "last_unified.nrrd").write_text("another scan's")
    status, lines = denoise(scan, tmp_path / "out.nrrd", "--attention", str(maps))
    assert (status, len(lines)) == (2, 1)
    assert "maps already contains .nrrd files" in lines[0]
    assert main(["attention", str(scan), str(maps)]) == 2
    assert "--overwrite" in capfd.readouterr().err
    assert (maps / "last_unified.nrrd").read_text() == "another scan's"
    assert denoise(scan, tmp_path / "out.nrrd", "--attention", str(maps), "--overwrite")[0] == 0
    assert read_volume(maps / "last_unified.nrrd").shape == read_volume(scan).shape


def test_maps_do_not_go_into_the_output(denoise, scan, tmp_path):
    status, lines = denoise(scan, tmp_path / "out.nrrd", "--attention", str(tmp_path / "out.nrrd"))
    assert (status, len(lines)) == (2, 1), lines
    assert "another folder" in lines[0]
    assert not (tmp_path / "out.nrrd").exists()


@pytest.mark.parametrize(
    ("name", "series"),
    [("out.nrrd", False), ("out.foo", False), ("series", True), ("1.2.840.113619", True), ("CT_1.5mm", True)],
)
def test_a_folder_may_have_a_dot_in_its_name(tmp_path, name, series):
    assert is_series(tmp_path / name) is series


@pytest.mark.parametrize("name", ["scan.nrrd", "out.jpg", "nowhere/out.nrrd", "series"])
def test_places_that_cannot_hold_the_output_are_refused_before_the_work(denoise, scan, tmp_path, name):
    """The input itself, an unknown format, a missing folder, and a DICOM series without DICOM input."""
    before = scan.read_bytes()
    status, lines = denoise(scan, tmp_path / name)
    assert (status, len(lines)) == (2, 1), lines
    assert scan.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan.nrrd", "tiny.safetensors"]


@pytest.mark.parametrize("name", ["scan.nrrd", "out.nrrd"])
def test_the_report_never_replaces_the_scan_or_the_result(denoise, scan, tmp_path, name):
    before = scan.read_bytes()
    status, lines = denoise(scan, tmp_path / "out.nrrd", "--report", str(tmp_path / name))
    assert (status, len(lines)) == (2, 1), lines
    assert scan.read_bytes() == before


@pytest.mark.parametrize("option", ["--json", "--plot"])
@pytest.mark.parametrize("kind", ["the scan", "a link to it", "a folder", "the prior", "the other output"])
def test_what_the_prior_says_never_replaces_a_file_it_read(scan, tmp_path, option, kind, capfd):
    picture, table = tmp_path / "link.png", tmp_path / "prior.json"
    table.write_text("{}")
    place = {"the scan": scan, "a link to it": picture, "a folder": tmp_path, "the prior": table}.get(kind, picture)
    if kind == "the other output":
        options = ["--json", str(place), "--plot", str(place)]
    elif option == "--plot":  # the file extension is checked first, hence .png
        place.is_dir() or picture.symlink_to(place if kind == "the prior" else scan)
        options = ["--plot", str(picture)]
        if kind == "a folder":
            picture.mkdir()
    else:
        picture.symlink_to(scan)
        options = ["--json", str(place)]
    before, names = scan.read_bytes(), sorted(tmp_path.iterdir())
    source = str(table) if kind == "the prior" else "uniform"
    assert main(["prior", str(scan), "--source", source, *options]) == 2
    error = capfd.readouterr().err
    assert ("is a folder" if kind == "a folder" else "already an input or output") in error
    assert (scan.read_bytes(), table.read_text(), sorted(tmp_path.iterdir())) == (before, "{}", names)


@pytest.mark.parametrize("command", ["prior --json", "prior --plot", "evaluate --json"])
def test_a_side_file_that_is_there_is_replaced_only_when_asked(scan, tmp_path, command, capfd):
    """It may contain manual edits, e.g. a prior's table."""
    name, option = command.split()
    place = tmp_path / ("side.png" if option == "--plot" else "side.json")
    place.write_text("by hand")
    arguments = [str(scan), *(["--source", "uniform"] if name == "prior" else [str(scan)]), option, str(place)]
    assert main([name, *arguments]) == 2
    assert f"{place.name} already exists" in capfd.readouterr().err
    assert place.read_text() == "by hand"
    assert main([name, *arguments, "--overwrite"]) == 0
    assert place.read_bytes() != b"by hand"


def test_a_demo_replaces_a_scan_only_when_asked(scan, tmp_path, capfd):
    own = scan.rename(tmp_path / "low.nrrd")
    before = own.read_bytes()
    assert main(["demo", str(tmp_path), "--slices", "1", "--size", "64"]) == 2
    assert "low.nrrd already exists" in capfd.readouterr().err
    assert (own.read_bytes(), [*tmp_path.iterdir()]) == (before, [own])
    assert main(["demo", str(tmp_path), "--slices", "1", "--size", "64", "--overwrite"]) == 0
    assert own.read_bytes() != before


@pytest.mark.parametrize(("option", "value"), [("--strength", "2"), ("--dose", "0"), ("--dose", "1.5")])
def test_a_demo_that_cannot_be_is_refused_before_anything_is_there(tmp_path, capfd, option, value):
    assert main(["demo", str(tmp_path / "out"), "--slices", "1", "--size", "64", option, value]) == 2
    assert option.lstrip("-") in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_demo_replaces_no_folder_and_no_prior(tmp_path, make_model, capfd):
    make_model()
    (tmp_path / "out" / "metrics.json").mkdir(parents=True)
    engine = ["--model", str(tmp_path / "tiny.safetensors"), "--prior", "uniform", "--device", "cpu"]
    assert main(["demo", str(tmp_path / "out"), *engine]) == 2
    assert "metrics.json is a folder" in capfd.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["metrics.json"]


def test_a_report_that_another_run_made_stays_and_the_scan_is_written(denoise, scan, tmp_path, monkeypatch):
    report = tmp_path / "out.json"
    compute = Denoiser.denoise

    def slow(*args, **options):
        report.write_text("another run's")
        return compute(*args, **options)

    monkeypatch.setattr(Denoiser, "denoise", slow)
    status, errors = denoise(scan, tmp_path / "out.nrrd", "--report", str(report))
    (kept,) = tmp_path.glob(".bioatt-*.json")
    assert (status, len(errors)) == (2, 1)
    assert kept.name in errors[0]
    assert report.read_text() == "another run's"
    assert json.loads(kept.read_text())["research_use_only"]
    assert (read_volume(tmp_path / "out.nrrd").hu != read_volume(scan).hu).any()


@pytest.mark.parametrize("where", ["IN", "OUT", "--report", "--attention", "--model", "--prior"])
def test_names_too_long_for_the_system_are_the_caller_s_matter(denoise, scan, tmp_path, where):
    name = str(tmp_path / ("n" * 300))
    if where in ("IN", "OUT"):
        status, lines = denoise(
            name if where == "IN" else scan, tmp_path / "o.nrrd" if where == "IN" else f"{name}.nrrd"
        )
    else:
        status, lines = denoise(scan, tmp_path / "o.nrrd", where, name)
    assert (status, len(lines)) == (2, 1), lines
    assert "internal" not in lines[0]
    assert str(tmp_path) not in lines[0], "no path"


@pytest.mark.parametrize("empty", [0, 1])
def test_a_variable_that_is_not_set_is_not_the_current_folder(scan, tmp_path, capsys, empty, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [str(scan), "out.nrrd"]
    arguments[empty] = ""
    with pytest.raises(SystemExit) as stopped:
        main(["denoise", *arguments])
    assert stopped.value.code == 2
    assert "empty" in capsys.readouterr().err
