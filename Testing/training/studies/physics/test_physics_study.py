"""The physics study: its measurements of denoisers with known behaviour, and the command."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from bioatt.core.volume import Volume
from bioatt.simulation.tomography import Geometry
from bioatt_training.cli import main
from bioatt_training.studies.physics import figures, phantoms, runner, tasks
from bioatt_training.studies.physics.audit import agreement, noticed
from bioatt_training.studies.physics.detection import INPUT, measure
from bioatt_training.studies.physics.phantoms import cylinder, scans
from bioatt_training.studies.physics.results import compared, reduction
from bioatt_training.studies.physics.subjects import SliceAverage
from bioatt_training.studies.physics.tasks import agatston

INSERTS = ((60.0, 8.0), (300.0, 6.0))


@pytest.fixture(scope="module")
def scanned():
    phantom = cylinder(INSERTS, diameter_mm=120, size=128)
    return phantom, scans(phantom, "B30", 0.5, 48)


class Scaled:
    """Scales contrast and noise alike: nothing is lost, but everything looks fainter."""

    name = identity = "scaled"
    reach = 0

    def __call__(self, scan: Volume):
        return (40 + (scan.hu.astype(np.float32) - 40) / 2.2).astype(np.float32)


class Eraser:
    """Returns noisy slices of the phantom without its inserts."""

    name = identity = "eraser"
    reach = 0

    def __init__(self, truth):
        self.truth = truth

    def __call__(self, scan: Volume):
        return np.repeat(self.truth[None], scan.shape[0], 0) + np.random.default_rng(0).normal(0, 1, scan.shape)


def test_scans_with_and_without_inserts_have_the_same_noise(scanned):
    _, found = scanned
    difference = found.present.hu.astype(float) - found.absent.hu - found.signal
    assert np.abs(difference).max() <= 1  # from rounding
    assert found.signal.max() == pytest.approx(300, abs=40)
    assert found.absent.hu.std(0)[64, 64] > 3


def test_what_is_scaled_loses_nothing_but_its_contrast(scanned):
    phantom, found = scanned
    result = compared(measure(phantom, found, [Scaled()]), "scaled")["scaled"]
    for row in result["inserts"].values():
        assert row["ratio"]["Laguerre-Gauss"] == pytest.approx([1, 1, 1], abs=0.01)
        assert row["contrast"] == pytest.approx(1 / 2.2, abs=0.06)
    assert result["inserts"]["300 HU 6 mm"]["erased"][0] > 0.9
    assert result["mean ratio"]["DoG"][0] == pytest.approx(1, abs=0.01)


def test_what_is_erased_has_no_detectability(scanned):
    phantom, found = scanned
    result = compared(measure(phantom, found, [Eraser(found.truth)]), "eraser")
    for insert, row in result["eraser"]["inserts"].items():
        assert row["d"][0] < 0.5 < result[INPUT]["inserts"][insert]["d"][0]
        assert row["erased"][0] == 1
        assert row["invented"][0] == 0


def test_averaging_three_slices_gains_about_the_root_of_three(scanned):
    phantom, found = scanned
    result = compared(measure(phantom, found, [SliceAverage()], ("Laguerre-Gauss",)), "")
    assert result[SliceAverage.name]["noise"] == pytest.approx(result[INPUT]["noise"] / np.sqrt(3), rel=0.1)


def test_a_slow_subject_is_measured_on_fewer_scans_against_their_own_input(tmp_path):
    size = replace(runner.QUICK, scans=64, slow_scans=32, pixels=64)
    study = runner.Runner(SliceAverage(), tmp_path, size, slow=(Scaled(),))
    phantom = phantoms.cylinder(((100.0, 10.0),), size=64, name="low")
    found = study._detection(phantom, "B30", 0.25, 64)
    (insert,) = found["scaled"]["inserts"].values()
    (shown,) = found[INPUT]["inserts"].values()
    assert len(insert["d"]["DoG"]) == len(shown["d"]["DoG"]) == 17
    assert found["scaled"]["given"]["noise"] != found[INPUT]["noise"]
    assert insert["erased"][1] < shown["erased"][1]
    ratio = compared(found, "")["scaled"]["mean ratio"]["DoG"]
    assert ratio == pytest.approx([1, 1, 1], abs=0.02)  # relative to the same scans, whose d′ it keeps


def test_erased_inserts_are_noticed_and_honest_ones_agree_with_the_truth(scanned):
    phantom, found = scanned
    few = replace(found, **{name: _first(getattr(found, name), 4) for name in ("absent", "present")})
    scores = noticed(phantom, few, SliceAverage())["300 HU 6 mm"]
    assert min(scores["erased"]) > max(scores["honest"])
    rows = agreement(few, [SliceAverage(), Eraser(found.truth)])
    assert np.mean(rows[SliceAverage.name]["better"]) > np.mean(rows[SliceAverage.name]["worse"])
    assert len(rows["eraser"]["worse"]) == 4


def _first(volume: Volume, count: int) -> Volume:
    return Volume(volume.hu[:count], spacing=volume.spacing)


def test_the_dose_saved_is_that_of_the_inputs_power_law():
    inputs = {dose: [2 * dose**0.5] * 5 for dose in (0.1, 0.25, 0.5, 1.0)}
    same_as_half_dose = [2 * 0.5**0.5] * 5
    assert reduction(inputs, same_as_half_dose, 0.25) == pytest.approx([0.5] * 3)
    assert reduction(inputs, [2 * 0.25**0.5] * 5, 0.5)[0] == pytest.approx(-1)
    assert np.isnan(reduction(inputs, [0.0] * 5, 0.5)).all()


def test_calcium_is_scored_by_area_and_density():
    hu = np.full((2, 40, 40), 50)
    hu[0, 10:14, 10:14], hu[0, 30, 30], hu[1, 20:22, 20:22] = 250, 500, 410
    inside = np.ones(hu.shape, bool)
    assert agatston(hu, inside, 0.5, 3.0) == pytest.approx(16 * 0.25 * 2 + 4 * 0.25 * 4)  # one pixel is too small
    inside[1] = False
    assert agatston(hu, inside, 0.5, 6.0) == pytest.approx(2 * 16 * 0.25 * 2)


@pytest.mark.slow
def test_the_command_writes_its_page_and_resumes(shifting_model, tmp_path, monkeypatch, capsys):
    tiny = replace(
        runner.QUICK,
        scans=48,
        pixels=64,
        kernels=("B30",),
        doses=(0.25, 0.5, 1.0),
        liver_scans=48,
        liver_pixels=64,
        sizes=("newborn",),
        size_scans=48,
        audit_scans=2,
        task_seeds=runner.TASK_SEEDS[:1],
        task_slices=2,
        task_pixels=96,
    )
    monkeypatch.setattr(runner, "QUICK", tiny)
    for module in (phantoms, tasks):  # a quarter of the views suffices for so few pixels
        monkeypatch.setattr(module, "Geometry", lambda: Geometry().coarser(views=4))
    out = tmp_path / "out"
    command = ["physics", str(out), "--model", str(shifting_model("shift", 4.0)), "--quick"]
    assert main(command) == 0
    results = json.loads((out / "results.json").read_text())
    row = results["low"]["B30"]["0.25"]["shift"]
    # a uniform shift of 4 HU leaves detectability unchanged
    assert row["mean ratio"]["Laguerre-Gauss"] == pytest.approx([1, 1, 1], abs=0.02)
    text = (out / "README.md").read_text()
    assert "Research use only" in text
    assert "Not measured" not in text
    assert (out / "dose.png").stat().st_size > 1000
    kept = (out / "work" / "measured.jsonl").read_bytes()
    monkeypatch.setattr(figures, "write_figures", lambda *_: {})  # slow, and already tested above
    assert main(command) == 0
    assert (out / "work" / "measured.jsonl").read_bytes() == kept
