"""Losses and the paper's metrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from bioatt.core.hu import SCALE_HU
from bioatt_training.fit.config import OptimiserConfig
from bioatt_training.fit.objectives import (
    LOSSES,
    build_loss,
    interior,
    paper_metrics,
    relative_mse,
    ssim,
)

TARGET = torch.zeros(1, 1, 32, 32)


@pytest.fixture
def images():
    """Two patches: output, target, low."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(2, 1, 55, 55, generator=generator).cumsum(dim=3) * 0.1
    noise = torch.randn(2, 1, 55, 55, generator=generator) * torch.tensor([0.02, 0.2]).view(2, 1, 1, 1)
    return target + noise / 2, target, target + noise


def test_losses_grow_with_the_error(images):
    _, target, low = images
    for name, loss in LOSSES.items():
        assert loss(target, target, low) < loss(target + 0.1, target, low) < loss(target + 0.2, target, low), name
    assert LOSSES["mse"](target + 3, target, low) == pytest.approx(9, rel=1e-5)


def test_the_relative_loss_weighs_all_noise_levels_alike():
    """Half the input's error is a quarter of its square, for a patch of 5 HU as for one of 100 HU."""
    target, noise = torch.zeros(2, 1, 8, 8), torch.tensor([0.05, 1.0]).view(2, 1, 1, 1)
    loss = LOSSES["relative_mse"]
    assert loss(noise / 2, target, noise) == pytest.approx(0.25, rel=0.01)
    quiet, loud = noise.clone(), noise.clone()
    quiet[0], loud[1] = 0, 0
    assert loss(quiet, target, noise) == pytest.approx(float(loss(loud, target, noise)), rel=0.02)


def test_means_that_are_wrong_cost_more_than_pixels_that_are():
    """A shift of 2 HU is lost in 20 HU of noise, and is what a reader measures."""
    generator = torch.Generator().manual_seed(0)
    target = torch.zeros(4, 1, 100, 100)
    noise = torch.randn(target.shape, generator=generator) * 20 / SCALE_HU
    shifted = noise + 2 / SCALE_HU
    plain, minding = loss_of("relative_mse"), loss_of("relative_mse", means_weight=100.0)
    assert float(plain(shifted, target, noise) / plain(noise, target, noise)) == pytest.approx(1.01, abs=0.005)
    assert float(minding(shifted, target, noise) / minding(noise, target, noise)) > 1.5
    checkers = (torch.arange(100)[:, None] + torch.arange(100)) % 2 * 2.0 - 1
    assert float(minding(checkers.expand(target.shape), target, noise)) == pytest.approx(
        float(plain(checkers.expand(target.shape), target, noise)), rel=1e-4
    ), "errors that cancel over a square cost no more"


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
    """A chequerboard: no mean in any block, root mean square `hu`."""
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    return (hu / 500 * (1 - 2 * ((y + x) % 2)))[None, None].float()


def loss_of(name: str, **numbers: float):
    return build_loss(OptimiserConfig(loss=name, **numbers))


def test_what_two_neighbours_lose_alike_costs_more_than_their_noise():
    """Opposite errors leave the mean as it is; the same error in both costs 1 + bias_weight times as much."""
    error, target = noise(10), torch.cat([TARGET, TARGET])
    low = torch.cat([noise(50), -noise(50)])
    loss = loss_of("unbiased", floor_hu=2.0, bias_weight=3.0)
    spread, bias = (loss(torch.cat([error, sign * error]), target, low) for sign in (-1, 1))
    assert spread == pytest.approx(float(relative_mse(noise(10), TARGET, noise(50))), rel=1e-5)
    assert bias / spread == pytest.approx(1 + 3.0, rel=1e-5)


def test_a_noisy_pair_may_lose_more():
    """Under as much noise as bias_noise_hu a quarter of the weight is left, under little all of it."""
    target = torch.cat([TARGET, TARGET])
    for hu, share in ((20.0, 1 / 4), (0.2, 1.0)):
        low, same = torch.cat([noise(hu), -noise(hu)]), torch.cat([noise(hu / 2), noise(hu / 2)])
        loss = loss_of("unbiased", floor_hu=0.01, bias_weight=4.0, bias_noise_hu=20.0)
        assert loss(same, target, low) == pytest.approx((1 + 4 * share) / 4, rel=1e-2)


def test_neighbours_of_different_anatomy_have_nothing_to_lose_alike():
    error, target, low = noise(10), torch.cat([TARGET, TARGET + noise(5)]), torch.cat([noise(50), noise(50)])
    images = torch.cat([error, error]) + target, target, low + target
    assert loss_of("unbiased", floor_hu=2.0, bias_weight=3.0)(*images) == relative_mse(*images)


def test_a_patch_without_a_neighbour_is_weighed_as_relative_mse_does():
    low = noise(30)
    assert loss_of("unbiased", floor_hu=30.0)(low, TARGET, low) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("name", ["relative_mse", "unbiased"])
def test_below_the_floor_a_patch_weighs_no_more(name):
    """An error of 5 HU costs the same under 1 HU of noise as under 2 HU with a floor of 20 HU, not with one of 1 HU."""
    ratios = {}
    target = torch.cat([TARGET, TARGET])
    for floor_hu in (20.0, 1.0):
        loss = loss_of(name, floor_hu=floor_hu)
        one, two, five = (torch.cat([noise(hu), noise(hu)]) for hu in (1, 2, 5))
        ratios[floor_hu] = float(loss(five, target, one) / loss(five, target, two))
    assert ratios[20.0] == pytest.approx(1, abs=0.01)
    assert ratios[1.0] == pytest.approx(2.5, abs=0.01)
