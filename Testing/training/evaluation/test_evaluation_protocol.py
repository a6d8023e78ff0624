"""The paper's protocol matches scikit-image, which the authors used, on each patch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from bioatt.network import build_network
from bioatt.network.slab_unet import alone
from bioatt_training.data.bank import Bank
from bioatt_training.evaluation.protocol import denoised_patches, grid_patches, patch_metrics
from bioatt_training.evaluation.statistics import pooled
from bioatt_training.fit.grid import GridDataset


def test_patches_are_the_training_grids(made_up_bank):
    bank = Bank(made_up_bank())
    (index, *_), data = bank.indices("test"), GridDataset(bank, "test")
    target, _ = bank.pair(index)
    patches = grid_patches(target)
    assert patches.shape == (4, 55, 55)
    for number in range(4):
        np.testing.assert_allclose(data[number][1][0] * 500 - 500, patches[number], atol=1e-3)


def test_a_slice_of_512_has_81_patches_and_a_small_one_none():
    assert len(grid_patches(np.zeros((512, 512)))) == 81
    assert len(grid_patches(np.zeros((600, 700)))) == 81
    assert grid_patches(np.zeros((54, 512))).shape == (0, 55, 55)


def test_metrics_are_scikit_images_on_standardised_values():
    rng = np.random.default_rng(0)
    a = rng.normal(-300, 200, (3, 55, 55))
    b = a + rng.normal(0, 30, a.shape)
    found = patch_metrics(a, b)
    for n in range(3):
        x, y = (a[n] + 500) / 500, (b[n] + 500) / 500
        assert found["rmse"][n] == pytest.approx(np.sqrt(((x - y) ** 2).mean()))
        assert found["psnr"][n] == pytest.approx(peak_signal_noise_ratio(x, y, data_range=1.0))
        assert found["ssim"][n] == pytest.approx(structural_similarity(x, y, data_range=1.0))
    assert np.isinf(patch_metrics(a, a)["psnr"]).all()


def test_patches_go_through_the_network_alone():
    """Each patch is denoised without its surroundings."""
    torch.manual_seed(0)
    network = build_network("bioatt", 4, 3).eval()
    hu = np.random.default_rng(0).normal(0, 300, (19, 55, 55)).astype(np.float32)
    p = np.array([0.5, 0.3, 0.2], np.float32)
    found = denoised_patches(network, hu, p)
    with torch.inference_mode():
        x = torch.from_numpy((hu[17:18, None] + 500) / 500)
        expected = network(x, torch.from_numpy(p[None]))[0, 0].numpy() * 500 - 500
    np.testing.assert_allclose(found[17], expected, atol=1e-2)


def test_networks_on_blocks_take_the_odd_patch_too():
    network = build_network("base", 4, 1, layout="unet").eval()
    assert denoised_patches(network, np.zeros((2, 55, 55), np.float32), np.ones(1, np.float32)).shape == (2, 55, 55)


def test_a_network_for_slices_with_neighbours_knows_the_noise_level():
    torch.manual_seed(0)
    network = build_network("base", 4, 1, layout="slab_unet").eval()
    for parameter in network.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    hu = np.random.default_rng(0).normal(0, 300, (1, 55, 55)).astype(np.float32)
    found = denoised_patches(network, hu, np.ones(1, np.float32), 30.0)
    x = torch.from_numpy((np.pad(hu, ((0, 0), (0, 1), (0, 1)), mode="reflect")[:, None] + 500) / 500)
    with torch.inference_mode():
        expected = network(alone(x, 30.0))[:, 0, :55, :55].numpy() * 500 - 500
    np.testing.assert_allclose(found, expected, atol=1e-2)
    unknown = denoised_patches(network, hu, np.ones(1, np.float32), np.nan)
    assert np.isfinite(unknown).all()
    assert np.abs(unknown - found).max() > 1


def test_pooled_groups_are_the_whole():
    values = np.random.default_rng(1).normal(5, 2, 50)
    parts = [{"patches": len(p), "mean": p.mean(), "sd": p.std()} for p in (values[:7], values[7:30], values[30:])]
    found = pooled(parts)
    assert found["patches"] == 50
    assert (found["mean"], found["sd"]) == pytest.approx((values.mean(), values.std()))
