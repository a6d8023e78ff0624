"""Losses and the paper's metrics."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from bioatt_training.fit.objectives import LOSSES, interior, paper_metrics, relative_mse, ssim

TARGET = torch.zeros(1, 1, 32, 32)


@pytest.fixture
def images():
    """Output, target and low dose of two patches."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(2, 1, 55, 55, generator=generator).cumsum(dim=3) * 0.1
    noise = torch.randn(2, 1, 55, 55, generator=generator) * torch.tensor([0.02, 0.2]).view(2, 1, 1, 1)
    return target + noise / 2, target, target + noise


def test_losses_grow_with_the_error(images):
    _, target, low = images
    for name, loss in LOSSES.items():
        assert loss(target, target, low) < loss(target + 0.1, target, low) < loss(target + 0.2, target, low), name
    assert LOSSES["mse"](target + 3, target, low) == pytest.approx(9, rel=1e-5)


def test_the_relative_error_weighs_all_noise_levels_alike():
    """Half the input's error gives a quarter of the loss, whatever the noise level of the patch."""
    target, noise = torch.zeros(2, 1, 8, 8), torch.tensor([0.05, 1.0]).view(2, 1, 1, 1)
    assert relative_mse(noise / 2, target, noise) == pytest.approx(0.25, rel=0.01)
    quiet, loud = noise.clone(), noise.clone()
    quiet[0], loud[1] = 0, 0
    assert relative_mse(quiet, target, noise) == pytest.approx(float(relative_mse(loud, target, noise)), rel=0.02)


def test_ssim_is_scikit_image_s(images):
    output, target, _ = images
    for computed, one, other in zip(ssim(output, target), output[:, 0].numpy(), target[:, 0].numpy(), strict=True):
        assert float(computed) == pytest.approx(structural_similarity(other, one, data_range=1.0), abs=1e-4)


def test_losses_give_gradients_everywhere(images):
    output, target, low = images
    for name, loss in LOSSES.items():
        changed = output.clone().requires_grad_()
        loss(changed, target, low).backward()
        assert torch.isfinite(changed.grad).all(), name
        assert (changed.grad[..., 3:48, 3:48] != 0).any(), name


def test_paper_metrics_are_means_over_patches(images):
    output, target, _ = images
    a, b = output[:, 0].numpy(), target[:, 0].numpy()
    metrics = paper_metrics(output, target)
    assert float(metrics["rmse"]) == pytest.approx(np.sqrt(((a - b) ** 2).mean(axis=(1, 2))).mean(), rel=1e-5)
    psnr = [peak_signal_noise_ratio(other, one, data_range=1.0) for one, other in zip(a, b, strict=True)]
    assert float(metrics["psnr"]) == pytest.approx(np.mean(psnr), rel=1e-5)
    assert torch.isfinite(paper_metrics(target, target)["psnr"])


def test_the_margin_is_left_out():
    assert interior(torch.zeros(1, 1, 50, 40), 20).shape == (1, 1, 10, 0)
    assert interior(torch.zeros(1, 1, 50, 40), 0).shape == (1, 1, 50, 40)


def noise(hu: float) -> torch.Tensor:
    """A chequerboard with zero mean in every block and a root mean square of `hu`."""
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    return (hu / 500 * (1 - 2 * ((y + x) % 2)))[None, None].float()


def test_below_20_hu_a_patch_weighs_no_more_in_training():
    """In training, an error of 5 HU costs the same at 1 HU of noise as at 2 HU; in the metric, 2.5 times as much."""
    one, two, five = (noise(hu) for hu in (1, 2, 5))
    ratios = [
        float(loss(five, TARGET, one) / loss(five, TARGET, two))
        for loss in (LOSSES["relative_mse"], partial(relative_mse, floor_hu=1.0))
    ]
    assert ratios == pytest.approx([1, 2.5], abs=0.01)
