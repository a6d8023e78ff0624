"""`bioatt-train simulate`: the simulated volume, the report, and one-line errors for wrong calls."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from bioatt.core.volume import Volume
from bioatt.io.images import read_volume, write_volume
from bioatt_training.cli import main
from bioatt_training.simulate import calibration, figures, report, volumes
from bioatt_training.simulate.targets import noisier2noise, softened


@pytest.fixture
def scan(tmp_path):
    """A noisy ellipse with bone and lung, 3 slices of 96², with flipped axes."""
    y, x = (np.mgrid[:96, :96] - 47.5) * 3
    hu = np.where((x / 120) ** 2 + (y / 90) ** 2 < 1, 40.0, -1000.0)
    hu[np.hypot(x - 50, y) < 25] = -850
    hu[np.hypot(x, y - 60) < 12] = 500
    noise = np.random.default_rng(0).normal(0, 10, (3, 96, 96))
    volume = Volume(np.rint(hu + noise).astype(np.int16), spacing=(3, 3, 5), direction=np.diag([-1.0, 1.0, 1.0]))
    path = tmp_path / "scan.nrrd"
    write_volume(volume, path)
    return path


@pytest.mark.slow
def test_volume_in_volume_out(scan, tmp_path, capsys):
    outputs = [tmp_path / f"{name}.nrrd" for name in ("a", "b", "c", "noise")]
    call = ["simulate", str(scan), "--kernel", "B20", "--fast"]
    for out, seed in zip(outputs, (3, 3, 4), strict=False):
        assert main([*call, str(out), "--seed", str(seed), "--noise-volume", str(outputs[3]), "--overwrite"]) == 0
    assert "dose fraction 0.25" in capsys.readouterr().out
    original = read_volume(scan)
    first, again, other = (read_volume(out) for out in outputs[:3])
    assert first.spacing == original.spacing
    np.testing.assert_allclose(first.direction, original.direction)
    assert first.hu.dtype == np.int16
    np.testing.assert_array_equal(first.hu, again.hu)
    assert (first.hu != other.hu).mean() > 0.5
    noise = read_volume(outputs[3], hu=False).hu
    tissue = (original.hu > 0) & (original.hu < 80)
    np.testing.assert_allclose((other.hu - original.hu)[tissue], noise[tissue], atol=1)
    assert "Research use only" in outputs[0].read_bytes()[:2000].decode("latin1")


@pytest.mark.slow
def test_a_phantoms_whole_scan(scan, tmp_path):
    out = tmp_path / "low.nii.gz"
    assert main(["simulate", str(scan), str(out), "--phantom", "--dose", "0.5"]) == 0
    assert read_volume(out).shape == (3, 96, 96)


@pytest.mark.slow
def test_the_report_measures_plots_and_names_what_it_could_not_use(scan, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report, "WATER_KERNELS", ("B20",))
    monkeypatch.setattr(report, "study", lambda **_: [{"target": "x", "rmse_hu": 1.0, "noise_hu": 1.0, "blur_hu": 0.0}])
    (tmp_path / "broken.nrrd").write_text("no volume")
    out = tmp_path / "report"
    assert main(["simulate", "--report", str(tmp_path), str(out)]) == 0
    said = capsys.readouterr().out
    assert "broken.nrrd: left out" in said
    tables = json.loads((out / "calibration.json").read_text())
    (water,) = tables["water"]
    assert water["slope"] == pytest.approx(-0.5, abs=0.02)
    assert [one["name"] for one in tables["anatomy"]] == ["scan.nrrd"]
    assert tables["anatomy"][0]["ratio"] == pytest.approx(2, abs=0.25)
    assert {path.name for path in out.iterdir()} == {"calibration.json", "water.png", "anatomy.png", "scan.png"}


@pytest.mark.slow
def test_the_cylinder_agrees_with_theory():
    water = calibration.water_cylinder("LUNG", slices=4)
    assert water.slope == pytest.approx(-0.5, abs=0.02)
    assert water.additivity == pytest.approx(1, abs=0.05)
    direct, inserted = water.peaks
    assert inserted == pytest.approx(direct, rel=0.15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (["IN", "OUT", "--dose", "1"], "between 0 and 1"),
        (["IN", "OUT", "--kernel", "wavelet"], "unknown reconstruction kernel"),
        (["IN", "OUT", "--noise", "-3"], "positive"),
        (["IN", "OUT", "--device", "abacus"], "unknown device"),
        (["IN", "OUT", "--device", "cuda:99"], "not available"),
        (["IN", "OUT", "--device", "auto", "--phantom"], "on the CPU"),
        (["none.nrrd", "OUT"], "no such file"),
        (["IN", "low.txt"], "is not a volume format"),
        (["none", "R", "--report"], "no such file"),
        (["IN", "R", "--report", "--dose", "2"], "between 0 and 1"),
        (["IN", "IN", "--report"], "name a folder"),
    ],
)
def test_wrong_calls_end_with_one_line_and_status_2(scan, tmp_path, capsys, monkeypatch, call, message):
    monkeypatch.chdir(tmp_path)
    words = {"IN": str(scan), "OUT": str(tmp_path / "low.nrrd")}
    assert main(["simulate", *(words.get(word, word) for word in call)]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert message in error[0]
    assert not (tmp_path / "low.nrrd").exists()


@pytest.mark.parametrize("place", ["OUT", "--noise-volume"])
def test_a_volume_that_is_there_is_replaced_only_when_asked(scan, tmp_path, capsys, place):
    mine = tmp_path / "mine.nrrd"
    mine.write_text("a scan")
    call = [str(scan), str(mine)] if place == "OUT" else [str(scan), str(tmp_path / "low.nrrd"), place, str(mine)]
    assert main(["simulate", *call]) == 2
    assert "mine.nrrd already exists" in capsys.readouterr().err
    assert mine.read_text() == "a scan"


def test_the_noise_never_takes_the_place_of_the_low_dose(scan, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "low.nrrd"
    for given in ([], ["--overwrite"]):
        assert main(["simulate", str(scan), "low.nrrd", "--noise-volume", str(out), *given]) == 2
        assert "low.nrrd is the same file as OUT" in capsys.readouterr().err
        assert not out.exists()


@pytest.fixture
def inserted(monkeypatch):
    """Replaces the simulated noise by 20 HU of white noise; lists the inserted array, in canonical order."""
    noises = []

    def insert(volume, **_):
        noises.append(np.random.default_rng(0).normal(0, 20, volume.shape).astype(np.float32))
        return SimpleNamespace(hu_low=volume.hu + noises[0], noise=noises[0]), "made up"

    monkeypatch.setattr(volumes, "insert_into", insert)
    return noises


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_the_noise_volume_is_the_noise_and_nothing_where_the_scan_is_padding(tmp_path, inserted, suffix):
    """The scan has its slices in reverse order and rows of scanner padding."""
    hu = np.full((2, 32, 32), 40, np.int16)
    hu[:, :6] = -2000
    write_volume(Volume(hu, direction=np.diag([1.0, 1.0, -1.0])), tmp_path / "scan.nrrd")
    low, noise = tmp_path / f"low{suffix}", tmp_path / f"noise{suffix}"
    assert main(["simulate", str(tmp_path / "scan.nrrd"), str(low), "--noise-volume", str(noise)]) == 0
    written = read_volume(noise, hu=False)
    assert written.storage == "float32"
    np.testing.assert_array_equal(written.hu[:, :6], 0)
    np.testing.assert_array_equal(written.hu[:, 6:], inserted[0][::-1, 6:])
    np.testing.assert_array_equal(read_volume(low).hu[:, :6], -2000)


def test_the_noise_of_an_unsigned_scan_has_both_signs(tmp_path, inserted):
    write_volume(Volume(np.full((2, 32, 32), 60, np.uint16)), tmp_path / "scan.nrrd")
    call = ["simulate", str(tmp_path / "scan.nrrd"), str(tmp_path / "low.nrrd")]
    assert main([*call, "--noise-volume", str(tmp_path / "noise.nrrd")]) == 0
    np.testing.assert_array_equal(read_volume(tmp_path / "noise.nrrd", hu=False).hu, inserted[0])


def test_the_pictures_of_a_scan_say_their_windows(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "save_figure", lambda figure, *_: shown.append(figure))
    hu = np.zeros((3, 32, 32), np.float32)
    monkeypatch.setattr(figures, "insert_noise", lambda hu, *_, **__: SimpleNamespace(hu_low=hu, noise=hu))
    figures.plot_example("chest", hu, 0.8, 1, tmp_path / "chest.png")
    panels = [(axis.images[0].get_clim(), axis.get_title()) for axis in shown[0].axes]
    assert [limits for limits, _ in panels] == [(-160, 240), (-160, 240), (-150, 150)]
    for (low, high), title in panels:
        assert f"−{-low:g} … {high:g} HU" in title


def test_noisier2noise_gives_the_truth_where_theory_says_so():
    truth, low, dose = np.array([40.0, -90.0]), np.array([75.0, -160.0]), 0.25
    best = (1 - dose) * truth + dose * low  # optimal output of a network trained with the scan as target
    np.testing.assert_allclose(noisier2noise(best, low, dose), truth)


def test_a_softened_target_has_less_noise_and_the_same_mean():
    from bioatt.simulation.tomography import kernel_named

    image = 40 + np.random.default_rng(0).normal(0, 20, (2, 64, 64)).astype(np.float32)
    soft = softened(image, 0.8, kernel_named("B50"), kernel_named("B10"))
    assert soft.std() < 0.6 * image.std()
    np.testing.assert_allclose(soft.mean((1, 2)), image.mean((1, 2)), atol=1e-3)
    np.testing.assert_allclose(softened(image, 0.8, kernel_named("B10"), kernel_named("B50")), image, atol=0.5)
