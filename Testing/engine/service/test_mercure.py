"""The mercure processing module: its folders, names and settings."""

from __future__ import annotations

import json

import pytest
from pydicom import dcmread

from bioatt.cli import main
from bioatt.io.images import read_volume


@pytest.fixture
def mercure(series_writer, make_model, tmp_path, monkeypatch, capfd):
    """Run the module on a series laid out as by mercure, with these settings; returns the exit status and stderr."""
    make_model()
    source, out = tmp_path / "data", tmp_path / "output"
    series_writer.write_series(source, series_writer.ct_like(3, 32, 32), name="1.2.3#{:03d}.dcm")
    out.mkdir()
    monkeypatch.setenv("MERCURE_IN_DIR", str(source))
    monkeypatch.setenv("MERCURE_OUT_DIR", str(out))

    def run(settings: object = None, *options: str) -> tuple[int, str]:
        given = {"model": str(tmp_path / "tiny.safetensors")} if settings is None else settings
        (source / "task.json").write_text(json.dumps({"process": {"settings": given}}))
        status = main(["mercure", "--device", "cpu", *options])
        said = capfd.readouterr()
        return status, said.out if options else said.err

    return run


def test_derived_images_lie_flat_under_the_names_that_mercure_uses(mercure, tmp_path):
    before = {file.name: file.read_bytes() for file in (tmp_path / "data").glob("*.dcm")}

    assert mercure() == (0, "")

    images = [dcmread(file) for file in sorted((tmp_path / "output").iterdir())]
    names = {f"{image.SeriesInstanceUID}#{image.SOPInstanceUID}.dcm" for image in images}
    assert {file.name for file in (tmp_path / "output").iterdir()} == names
    assert len(images) == 3
    assert len({image.SeriesInstanceUID for image in images}) == 1
    assert {image.SeriesNumber for image in images} == {1003}
    assert {file.name: file.read_bytes() for file in (tmp_path / "data").glob("*.dcm")} == before
    assert read_volume(tmp_path / "output").shape == (3, 32, 32)


def test_the_settings_of_its_pages_are_those_of_a_rule(mercure, tmp_path):
    assert mercure({"model": str(tmp_path / "tiny.safetensors"), "strength": 0.25})[0] == 0

    image = dcmread(next((tmp_path / "output").iterdir()))
    assert "25%" in image.SeriesDescription


def test_what_became_of_each_series_is_told_as_json(mercure):
    status, said = mercure(None, "--json")

    assert status == 0
    assert json.loads(said) == [{"name": "series_3", "status": "done", "reason": ""}]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strenght": 1}, "unknown key 'strenght'"),
        ({"strength": 7}, "strength"),
        ({"formats": ["nrrd"]}, "mercure accepts only DICOM"),
        ([1], "the settings are not a JSON object"),
    ],
)
def test_settings_that_cannot_be_used_are_told_in_a_line(mercure, tmp_path, settings, message):
    status, said = mercure(settings)

    assert status == 2
    assert message in said
    assert len(said.splitlines()) == 1
    assert not list((tmp_path / "output").iterdir())


def test_a_series_that_cannot_be_denoised_ends_with_a_status(mercure, tmp_path):
    (tmp_path / "data" / "1.2.3#001.dcm").write_bytes((tmp_path / "data" / "1.2.3#001.dcm").read_bytes()[:900])

    status, said = mercure()

    assert status == 2
    assert said
    assert not list((tmp_path / "output").iterdir())


def test_without_its_folders_it_says_what_is_missing(monkeypatch, capfd):
    monkeypatch.delenv("MERCURE_IN_DIR", raising=False)

    assert main(["mercure"]) == 2

    assert "MERCURE_IN_DIR and MERCURE_OUT_DIR are not set" in capfd.readouterr().err
