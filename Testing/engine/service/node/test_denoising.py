"""What the node's engine does with a study: several series, rules, failures, a lost device."""

from __future__ import annotations

import pytest
import torch
from pydicom import dcmread

from bioatt.core.errors import InputError
from bioatt.service.node.denoising import denoise_by
from bioatt.service.node.node import DeviceLostError


@pytest.fixture
def study(series_writer, tmp_path):
    """A study of two series, Abdomen and Chest."""
    folder = tmp_path / "in"
    series_writer.write_series(folder, series_writer.ct_like(3, 32, 32, seed=1), name="a{:03d}.dcm")
    series_writer.write_series(
        folder, series_writer.ct_like(3, 32, 32, seed=2), name="b{:03d}.dcm", SeriesDescription="Chest", SeriesNumber=4
    )
    return folder


@pytest.fixture
def denoise(make_model, tmp_path):
    """Denoise the study with rules that use a small model; returns the failures."""
    make_model()

    def run(study, *rules):
        (tmp_path / "work").mkdir(exist_ok=True)
        model = {"model": "tiny.safetensors"}
        return denoise_by([{**model, **rule} for rule in rules], tmp_path, "cpu")(study, tmp_path / "work")

    return run


def made(tmp_path) -> set[str]:
    return {dcmread(file).SeriesDescription for file in (tmp_path / "work").rglob("*.dcm")}


def test_each_series_goes_by_its_rule(study, denoise, tmp_path):
    chest = {"match": {"series_description": "chest"}, "strength": 0.5}

    assert denoise(study, chest, {"strength": 1}) == []

    assert made(tmp_path) == {"Abdomen [BioAtt tiny 100%, research]", "Chest [BioAtt tiny 50%, research]"}


def test_a_series_that_no_rule_fits_is_left_out(study, denoise, tmp_path):
    assert denoise(study, {"match": {"series_description": "chest"}}) == []

    assert len(made(tmp_path)) == 1


def test_a_damaged_series_fails_with_its_own_images_and_the_other_goes_on(study, denoise, tmp_path):
    for file in study.glob("b*"):
        data = dcmread(file)
        data.RescaleSlope = 0
        data.save_as(file)

    (failure,) = denoise(study, {})

    assert {file.name[0] for file in failure.images} == {"b"}
    assert "rescale" in failure.reason.lower()
    assert len(made(tmp_path)) == 1


def test_a_study_without_ct_is_no_failure(study, denoise, tmp_path):
    for file in study.iterdir():
        data = dcmread(file)
        data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        data.save_as(file)

    assert denoise(study, {}) == []


def test_a_device_that_computes_no_more_is_told_apart_from_a_bad_study(study, denoise, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr("bioatt.inference.denoiser.Denoiser.denoise", broken)
    assert "internal error" in denoise(study, {})[0].reason

    monkeypatch.setattr(torch, "ones", broken)
    with pytest.raises(DeviceLostError, match="has stopped working"):
        denoise(study, {})


def test_rules_of_other_formats_and_unknown_models_stop_the_start(denoise, study):
    with pytest.raises(InputError, match="a node sends only DICOM"):
        denoise(study, {"formats": ["nrrd"]})
    with pytest.raises(InputError, match="nowhere"):
        denoise(study, {"model": "nowhere"})
