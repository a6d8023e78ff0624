"""What was asked for is met where the whole interval says so, and the best peer is the best of all peers."""

from __future__ import annotations

import pytest

from bioatt_training.studies.benchmark.asked import met
from bioatt_training.studies.benchmark.results import _compared
from bioatt_training.studies.benchmark.tables import BIAS, NOISE, PSNR, SSIM
from bioatt_training.studies.benchmark.truth import Case


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.81, 1.2, "yes"), (0.64, 0.96, "open"), (0.25, 0.66, "**no**"), (None, None, "no interval")],
)
def test_met_means_that_the_interval_says_so(low, high, said):
    assert met({"mean": 0.9, "low": low, "high": high}, least=0.8) == said


@pytest.mark.parametrize(
    ("low", "high", "said"), [(0.7, 0.98, "yes"), (0.96, 1.16, "open"), (1.01, 1.2, "**no**"), (None, None, "**no**")]
)
def test_the_favourable_end_of_an_interval_meets_nothing(low, high, said):
    assert met({"mean": 1.05, "low": low, "high": high}, most=1.0) == said


def test_the_gain_is_over_the_best_peer_blended_ones_too():
    cases = [Case(f"c{n}", f"p{n}", "chest", "soft", 0.8, 5.0, None, None) for n in range(3)]

    def rows(psnr_db, ssim):
        values = {PSNR: psnr_db, SSIM: ssim, BIAS: 0.0, NOISE: 1.0}
        return [
            {"case": case.key, "patient": case.patient, "sharpness": "soft", **values, "middle": values}
            for case in cases
        ]

    denoisers = {"low dose": rows(20, 0.5), "model": rows(30, 0.9)}
    peers = {"BM3D": rows(28, 0.8), "BM3D, blended": rows(29.5, 0.7)}
    found = _compared(denoisers, peers, cases)
    assert (found[f"best {PSNR}"], found["best unblended"], found[f"best {SSIM}"]) == ("BM3D, blended", "BM3D", "BM3D")
    gain = found["gain"]["model"]
    assert gain[PSNR]["mean"] == pytest.approx(0.5)
    assert gain["over unblended"]["mean"] == pytest.approx(2)
    assert gain[SSIM]["mean"] == pytest.approx(0.1)
