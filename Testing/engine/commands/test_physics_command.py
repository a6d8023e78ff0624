"""`bioatt physics`: printed and written results, and rejected inputs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bioatt.cli import main
from bioatt.core.volume import Volume
from bioatt.io.images import write_volume
from bioatt.simulation.phantom.inserts import cylinder_with_inserts


@pytest.fixture
def phantom_files(tmp_path):
    """Paths of a noisy scan of a cylinder with two inserts and of the same scan smoothed by 1 px."""
    clean, _ = cylinder_with_inserts((-135.0, 200.0), slices=4, size=200, pixel_mm=1.0, diameter_mm=180, insert_mm=25)
    noisy = gaussian_filter(clean.hu, (0, 1, 1)) + np.random.default_rng(0).normal(0, 20, clean.hu.shape)
    paths = tmp_path / "low.nrrd", tmp_path / "denoised.nrrd"
    for path, hu in zip(paths, (noisy, gaussian_filter(noisy, (0, 1, 1))), strict=True):
        write_volume(replace(clean, hu=hu.astype(np.float32)), path)
    return [str(path) for path in paths]


def test_a_phantom_is_measured_before_and_after(phantom_files, tmp_path, capsys):
    page, numbers = tmp_path / "page.html", tmp_path / "numbers.json"
    assert main(["physics", "phantom", *phantom_files, "--html", str(page), "--json", str(numbers)]) == 0
    found = json.loads(numbers.read_text())
    before, after = found["before"], found["after"]
    assert before["noise_hu"] == pytest.approx(20, rel=0.05)
    assert after["noise_hu"] < 0.4 * before["noise_hu"]
    assert after["nps"]["mean"] < before["nps"]["mean"]
    assert after["inserts"][1]["f50"] < before["inserts"][1]["f50"]
    assert "Research use only" in capsys.readouterr().out
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 2
    assert "Research use only" in text
    assert 'src="http' not in text
    assert main(["physics", "phantom", phantom_files[0], "--json", str(numbers)]) == 2  # already exists


@pytest.mark.parametrize(("page", "numbers"), [("one", "one"), ("labels.nrrd", "two")])
def test_what_is_read_or_written_is_not_replaced(phantom_files, tmp_path, page, numbers, capsys):
    (tmp_path / "labels.nrrd").write_bytes(b"drawn by hand")
    places = ["--html", str(tmp_path / page), "--json", str(tmp_path / numbers), "--overwrite"]
    labels = ["--segmentation", str(tmp_path / "labels.nrrd")]
    assert main(["physics", "patient", phantom_files[0], *labels, *places]) == 2
    assert f"{page} is already an input or output" in capsys.readouterr().err
    assert (tmp_path / "labels.nrrd").read_bytes() == b"drawn by hand"


def test_one_scan_is_enough_and_nominal_hu_are_compared(phantom_files, capsys):
    assert main(["physics", "phantom", phantom_files[0], "--kind", "acr", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "after" not in found
    assert found["materials"] == ["polyethylene", "acrylic"]
    assert found["linearity"]["before"]["largest"] == pytest.approx(120, abs=2)


def test_what_is_no_phantom_is_refused(tmp_path, capsys):
    path = tmp_path / "air.nrrd"
    write_volume(Volume(np.full((2, 64, 64), -1000, np.int16)), path)
    assert main(["physics", "phantom", str(path)]) == 2
    assert "no round phantom" in capsys.readouterr().err


def test_a_patients_organs_are_measured_before_and_after(tmp_path, capsys):
    hu = np.full((6, 96, 96), -1000.0)
    labels = np.zeros(hu.shape, np.uint8)
    hu[:, 8:88, 8:88], labels[:, 8:88, 8:88] = 60, 5  # TotalSegmentator's label of the liver
    noisy = hu + (hu > -500) * np.random.default_rng(1).normal(0, 25, hu.shape)
    files = {"low": noisy, "denoised": np.where(hu > -500, gaussian_filter(noisy, (0, 1, 1)), hu) + 4, "labels": labels}
    for name, values in files.items():
        kind = np.uint8 if name == "labels" else np.float32
        write_volume(Volume(values.astype(kind), spacing=(1.0, 1.0, 5.0)), tmp_path / f"{name}.nrrd")
    low, denoised, table = (str(tmp_path / f"{name}.nrrd") for name in files)
    page = tmp_path / "page.html"
    command = ["physics", "patient", low, denoised, "--segmentation", table, "--html", str(page), "--json", "-"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    (row,) = found["organs"]
    assert row["organ"] == "liver"
    assert row["noise_before"] == pytest.approx(25, rel=0.05)
    assert row["shift"] == pytest.approx(4, abs=0.5)
    assert found["hu_by_tissue"]["soft tissue"] == pytest.approx(4, abs=0.5)
    assert found["nps"]["liver"]["after"]["mean"] < found["nps"]["liver"]["before"]["mean"]
    assert found["structure"]["slices"] >= 0
    assert page.read_text().count("data:image/png;base64,") == 3
