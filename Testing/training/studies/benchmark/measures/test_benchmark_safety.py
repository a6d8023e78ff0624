"""Full-dose safety: each measurement distinguishes a harmless denoiser from a harmful one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve

from bioatt.simulation.phantom.inserts import cylinder_with_inserts
from bioatt_training.studies.benchmark.measures.safety import (
    DISC_MM,
    TISSUES,
    against_truth,
    disc,
    disc_centres,
    disc_means,
    disc_variance,
    edges,
    full_dose,
)
from bioatt_training.studies.benchmark.tables import discs, predicted_spread, truth_discs

PIXEL_MM = 1.0
SIGMA = 12.0


@pytest.fixture
def body():
    """Soft tissue with a lung and a bone, noise-free, 160² pixels of 1 mm."""
    y, x = np.mgrid[:160, :160]
    hu = np.where(np.hypot(y - 80, x - 80) < 75, 50.0, -1000.0)
    hu[np.hypot(y - 50, x - 40) < 18] = -850
    hu[np.hypot(y - 60, x - 115) < 16] = 500
    return hu


@pytest.fixture
def noises(body):
    """The scan's noise, and a second realisation."""
    return np.random.default_rng(0).normal(0, SIGMA, (2, *body.shape))


def row_of(patient, before, after, own_noise):
    """The benchmark's row for one slice of a patient."""
    return {"patient": patient, **full_dose(before, after, own_noise, PIXEL_MM)}


def test_discs_lie_in_their_tissue_and_apart(body):
    found = disc_centres(body, PIXEL_MM, most=8)
    assert all(found[tissue] for tissue in TISSUES)
    for tissue, wanted in (("soft tissue", 50), ("lung", -850), ("bone", 500)):
        centres = np.array(found[tissue])
        assert np.abs(np.array(disc_means(body, found[tissue], PIXEL_MM)) - wanted).max() < 330
        distances = np.hypot(*(centres[:, None] - centres[None]).transpose(2, 0, 1))
        assert distances[~np.eye(len(centres), dtype=bool)].min(initial=99) >= DISC_MM
    assert np.abs(np.array(disc_means(body, found["soft tissue"], PIXEL_MM)) - 50).max() < 60


def test_a_disc_without_room_is_not_asked_for():
    assert disc_centres(np.full((9, 9), 50.0), PIXEL_MM) == {tissue: [] for tissue in TISSUES}


def test_the_spectrum_predicts_the_spread_of_discs_in_white_noise(noises):
    patches = noises[0].reshape(5, 32, 5, 32).swapaxes(1, 2).reshape(-1, 32, 32)
    predicted = disc_variance(patches, PIXEL_MM)
    expected = SIGMA**2 * (disc(PIXEL_MM) ** 2).sum()
    assert predicted == pytest.approx(expected, rel=0.2)


def test_the_spread_of_discs_in_a_ct_s_noise_is_not_overestimated():
    """CT noise has no power at zero frequency, where patches cannot measure the spectrum."""
    frequency = np.hypot(np.fft.fftfreq(512, PIXEL_MM)[:, None], np.fft.rfftfreq(512, PIXEL_MM)[None])
    amplitude = np.sqrt(frequency) * np.exp(-((frequency / 0.4) ** 2))
    rng = np.random.default_rng(3)
    noise = [np.fft.irfft2(np.fft.rfft2(rng.normal(size=(512, 512))) * amplitude) for _ in range(8)]
    patches = np.concatenate([n.reshape(16, 32, 16, 32).swapaxes(1, 2).reshape(-1, 32, 32) for n in noise])
    kernel = disc(PIXEL_MM)
    found = np.var([fftconvolve(n, kernel, mode="valid") for n in noise])
    assert 0.85 < disc_variance(patches, PIXEL_MM) / found < 1.02


def test_a_perfect_denoiser_is_within_what_its_removed_noise_predicts(body, noises):
    before = body + noises[0]
    found = discs([row_of("a", before, body, noises[1])])["soft tissue"]
    assert abs(found["mean"]) < 0.5
    assert found["predicted"]["ratio"]["mean"] == pytest.approx(1, rel=0.4)


def test_a_denoiser_that_shifts_hu_is_caught(body, noises):
    before = body + noises[0]
    after = np.where(before > 250, before - 5, before + 1)
    found = discs([row_of("a", before, after, noises[1])])
    assert found["soft tissue"]["mean"] == pytest.approx(1, abs=0.1)
    assert -5 < found["bone"]["mean"] < -3  # up to a quarter of a disc may lie outside the bone


def test_shifts_that_go_with_the_place_exceed_the_prediction(body, noises):
    before = body + noises[0]
    y, x = np.mgrid[:160, :160]
    after = body + 6 * np.sin(x / 25) * np.cos(y / 25)
    found = discs([row_of("a", before, after, noises[1])])["soft tissue"]
    assert found["predicted"]["ratio"]["mean"] > 1.3


def test_the_spread_is_compared_on_the_slices_that_have_a_prediction(body, noises):
    """Otherwise a noisier slice without room for a patch would be compared with other slices' prediction."""
    quiet, noisy = row_of("a", body + noises[0], body, noises[1]), row_of("b", body + 5 * noises[0], body, noises[1])
    del noisy["predicted"]
    alone, both = discs([quiet])["soft tissue"], discs([quiet, noisy])["soft tissue"]
    assert both["sd"] > 2 * alone["sd"]
    assert both["predicted"] == alone["predicted"]


def test_patients_are_what_the_spread_is_sure_of():
    """Variances are pooled over patients and over the slices of each; None without discs or removed noise."""

    def row(patient, shifts, predicted):
        return {"patient": patient, "discs": {"soft tissue": {"shift": shifts}}, "predicted": predicted}

    rows = [row("a", [-1.0, 1.0], 1.0), row("a", [-2.0, 2.0], 4.0), row("b", [-3.0, 3.0], 2.0)]
    found = predicted_spread(rows)
    assert (found["count"], found["sd"] ** 2) == (6, pytest.approx(28 / 6))
    assert found["predicted_sd"] ** 2 == pytest.approx(14 / 6)
    assert found["ratio"]["mean"] == pytest.approx(math.sqrt(2))
    assert found["ratio"]["low"] < 1 < found["ratio"]["high"]
    assert found["ratio"]["patients"] == 2
    assert predicted_spread([row("c", [], 1.0), row("d", [1.0, 1.0], 0.0)]) is None


def test_the_size_of_the_change_is_said_beside_the_noise(body, noises):
    before = body + noises[0]
    found = full_dose(before, before + np.where(body > -1000, 3.0, 0.0), noises[1], PIXEL_MM)
    assert found["change_hu"] == pytest.approx(3, rel=0.06)
    assert found["noise_hu"] == pytest.approx(SIGMA, rel=0.1)


def test_discs_against_the_truth_show_a_shift_through_the_noise(body):
    rng = np.random.default_rng(1)
    truth = np.repeat(body[None], 4, 0)
    before = truth + rng.normal(0, SIGMA, truth.shape)
    good = against_truth(truth, before, 0.7 * before + 0.3 * truth, PIXEL_MM, 4)["bone"]
    bad = against_truth(truth, before, np.where(truth > 250, before + 3, before), PIXEL_MM, 4)["bone"]
    assert np.abs(good["change"]).max() < 1
    assert 2 < np.mean(bad["change"]) < 3
    assert np.mean(bad["output"]) == pytest.approx(np.mean(bad["change"]), abs=1)
    assert np.mean(bad["error"]) < 0.5
    assert np.multiply(good["error"], 2) == pytest.approx(good["sd"])  # standard error of the mean of 4 scans
    assert (np.array(good["single"]) > np.abs(good["change"])).all()


def test_what_single_scans_do_to_discs_is_told_beside_the_mean_of_many(body):
    truth = np.repeat(body[None], 16, 0)
    before = truth + np.random.default_rng(1).normal(0, SIGMA, truth.shape)
    found = truth_discs({"soft": against_truth(truth, before, truth, PIXEL_MM, 16)})["soft tissue"]
    expected = SIGMA * np.sqrt((disc(PIXEL_MM) ** 2).sum())
    assert found["single_sd"] == pytest.approx(expected, rel=0.1)
    assert found["error"] == pytest.approx(found["single_sd"] / 4)
    assert found["single_largest"] > 2.5 * expected > 2 * found["largest"]


def test_the_mean_and_the_spread_of_shifts_have_intervals_over_patients():
    def row(patient, shifts):
        tissue = {"shift": shifts, "noise": [1.0, -1.0]}
        return {"patient": patient, "discs": dict.fromkeys(TISSUES, tissue)}

    alike = discs([row("a", [1.0, -1.0]), row("b", [1.0, -1.0]), row("c", [-1.0, 1.0])])["lung"]
    assert (alike["mean"], alike["largest"]) == (0, 1)
    assert [alike["patients mean"][end] for end in ("mean", "low", "high")] == [0, 0, 0]
    assert [alike["patients sd"][end] for end in ("mean", "low", "high")] == [1, 1, 1]
    apart = discs([row("a", [-4.0, -4.0]), row("b", [1.0, 1.0]), row("c", [3.0, 3.0])])["lung"]
    assert apart["patients mean"]["low"] < -2 < 2 < apart["patients mean"]["high"]
    assert apart["patients sd"]["high"] > apart["sd"]


def test_blur_narrows_the_transfer_function_and_none_leaves_it():
    volume, inserts = cylinder_with_inserts((100.0, 1000.0), slices=1, size=256, pixel_mm=1.2)
    truth = gaussian_filter(volume.hu, (0, 0.8, 0.8))
    noisy = truth + np.random.default_rng(0).normal(0, 3, (6, *truth.shape[1:]))
    sharp, soft = (edges(stack, inserts, volume.pixel_mm) for stack in (truth, gaussian_filter(truth, (0, 0.7, 0.7))))
    seen, blurred = (edges(stack, inserts, volume.pixel_mm) for stack in (noisy, gaussian_filter(noisy, (0, 0.7, 0.7))))
    for contrast in ("100", "1000"):
        assert seen[contrast] == pytest.approx(sharp[contrast], rel=0.06)
        assert soft[contrast] / sharp[contrast] < 0.9
        assert blurred[contrast] / seen[contrast] < 0.9
