"""Metrics against hand calculations, scikit-image and their own definitions."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from bioatt.core.errors import InputError
from bioatt.core.metrics import WINDOWS, compare, hu_bias, psnr, rmse, ssim
from bioatt.core.noise import noise_sd


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    reference = gaussian_filter(rng.normal(0, 900, (3, 40, 48)), (0, 3, 3)).astype(np.float32) * 4
    return reference, reference + rng.normal(0, 25, reference.shape).astype(np.float32)


def test_rmse_by_hand():
    reference, test = np.zeros((2, 2)), np.array([[3.0, 0], [0, 4]])
    assert rmse(reference, test) == pytest.approx(2.5)
    assert rmse(reference, test, (-1, 2)) == pytest.approx(math.sqrt(8 / 4))  # the window clips both errors to 2


def test_psnr_and_ssim_are_those_of_scikit_image(pair):
    for window in WINDOWS.values():
        a, b = (np.clip(x.astype(np.float64), *window) for x in pair)
        span = window[1] - window[0]
        assert psnr(*pair, window) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=span))
        each = [structural_similarity(i, j, data_range=span) for i, j in zip(a, b, strict=True)]
        assert ssim(*pair, window) == pytest.approx(np.mean(each))


def test_integers_do_not_wrap_around():
    reference, test = np.full((9, 9), -30000, np.int16), np.full((9, 9), 30000, np.int16)
    assert rmse(reference, test) == 60000
    assert rmse(np.zeros((9, 9), np.uint16), np.full((9, 9), 1, np.uint16)) == 1


def test_equal_images(pair):
    reference = pair[0]
    assert rmse(reference, reference) == 0
    assert psnr(reference, reference) == math.inf
    assert ssim(reference, reference) == pytest.approx(1)
    assert compare(reference, reference)["psnr_db"] is None


def test_what_lies_outside_the_window_does_not_count():
    reference = np.full((1, 16, 16), -1000.0)
    reference[0, :, 8:] = 50
    test = reference.copy()
    test[0, :, :8] -= 24  # error in air
    assert rmse(reference, test, (-160, 240)) == 0
    assert rmse(reference, test, (-1100, 240)) > 0


@pytest.mark.parametrize("function", [rmse, psnr, ssim, hu_bias])
def test_different_shapes_are_refused(function):
    with pytest.raises(InputError, match="same shape"):
        function(np.zeros((2, 9, 9)), np.zeros((2, 9, 8)))


def test_tiny_slices_and_inverted_windows_are_refused():
    with pytest.raises(InputError, match="at least 7"):
        ssim(np.zeros((6, 9)), np.zeros((6, 9)))
    with pytest.raises(InputError, match="lower to a higher"):
        psnr(np.zeros((9, 9)), np.ones((9, 9)), (240, -160))


@pytest.mark.parametrize("sd", [3.0, 12.0, 40.0])
def test_noise_sd_of_white_noise_beside_edges(sd):
    rng = np.random.default_rng(1)
    scene = np.full((4, 160, 160), -1000.0)
    scene[:, 20:140, 20:140] = 60
    scene[:, 60:80, 60:80] = 400
    scene[:, 100:120, 40:100] = -100
    assert noise_sd(scene + rng.normal(0, sd, scene.shape)) == pytest.approx(sd, rel=0.08, abs=0.3)


def test_noise_sd_is_small_for_a_clean_scan_and_nan_without_soft_tissue():
    scene = np.full((1, 64, 64), 60, np.int16)
    assert noise_sd(scene) < 0.5
    assert math.isnan(noise_sd(np.full((64, 64), -1000, np.int16)))


def test_hu_bias_finds_each_tissue_shift():
    rng = np.random.default_rng(2)
    levels = {"lung": -850.0, "fat": -100.0, "soft tissue": 60.0, "bone": 700.0}
    shifts = {"lung": 4.0, "fat": -2.0, "soft tissue": 1.0, "bone": -9.0}
    clean = np.repeat(np.array([*levels.values()]), 40)[None, None, :] * np.ones((2, 60, 1))
    shift = np.repeat(np.array([*shifts.values()]), 40)[None, None, :]
    reference = clean + rng.normal(0, 8, clean.shape)
    found = hu_bias(reference, reference + shift)
    assert found == pytest.approx(shifts, abs=1e-3)


def test_hu_bias_does_not_regress_to_the_mean_of_a_noisy_reference():
    """Selecting voxels by single noisy reference values would report the noise's tails as bias."""
    rng = np.random.default_rng(3)
    clean = np.full((4, 128, 128), 125.0)  # near the upper limit of soft tissue
    clean[:, :, :64] = 60
    reference = clean + rng.normal(0, 15, clean.shape)
    naive = (clean - reference)[(reference >= 0) & (reference < 130)].mean()
    assert naive > 3
    assert abs(hu_bias(reference, clean)["soft tissue"]) < 0.3 * naive


def test_compare_is_ready_for_json(pair):
    result = compare(*pair)
    assert result["rmse_hu"] == result["windows"]["soft tissue"]["rmse_hu"] == rmse(*pair, (-160, 240))
    assert {"psnr_db", "rmse_hu", "ssim", "windows", "hu_bias", "noise_hu"} == set(result)
    assert result["windows"]["soft tissue"]["data_range_hu"] == 400


def test_metrics_need_no_torch():
    code = "import sys, bioatt.core.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
