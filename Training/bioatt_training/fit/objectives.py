"""Losses between a denoised and a target patch, on the pixels with full context, and the paper's metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from bioatt.core.hu import SCALE_HU
from bioatt.core.metrics import SSIM_WINDOW
from bioatt_training.fit.config import MEANS_PX, LossName, OptimiserConfig

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(output, target, low) (B, 1, H, W) → scalar."""


def interior(patch: Tensor, margin: int) -> Tensor:
    """The patch (…, H, W) without `margin` pixels on each side, where context is missing."""
    return patch[..., margin : patch.shape[-2] - margin, margin : patch.shape[-1] - margin]


def mse(output: Tensor, target: Tensor, low: Tensor) -> Tensor:
    """Mean squared error, the paper's loss. Patches weigh in proportion to their noise variance."""
    return torch.mean((output - target) ** 2)


def relative_mse(
    output: Tensor, target: Tensor, low: Tensor, floor_hu: float = 2.0, means_weight: float = 0.0
) -> Tensor:
    """Mean over patches of the squared error relative to the input's, so that all noise levels weigh alike.

    floor_hu: added in quadrature to the input's root mean square error. An untrained network needs about 20 HU: with a
    small value it converges to the identity, which is the best answer for clean patches; plain MSE is dominated by the
    noisiest patches and over-smooths the others.
    means_weight: weight of the squared error of means over squares of `MEANS_PX`, the values that readers measure, of
    which single pixels hold little information.
    """
    error, before = (torch.mean((image - target) ** 2, dim=(1, 2, 3)) for image in (output, low))
    if means_weight:
        error = error + means_weight * torch.mean(avg_pool2d(output - target, MEANS_PX) ** 2, dim=(1, 2, 3))
    return torch.mean(error / (before + (floor_hu / SCALE_HU) ** 2))


def unbiased(
    output: Tensor,
    target: Tensor,
    low: Tensor,
    floor_hu: float = 2.0,
    bias_weight: float = 4.0,
    bias_noise_hu: float = math.inf,
) -> Tensor:
    """`relative_mse` plus `bias_weight` times the relative squared error that two noise realisations have in common.

    Neighbours in a batch that are one phantom patch with noise of opposite sign (`[data] opposite_noise`) share the
    change of the anatomy itself (blurred edges, lower contrast), which least squares trade for less noise. Neighbours
    with different targets are not counted. The weight falls with the pair's noise σ as
    1 / (1 + (σ / bias_noise_hu)²)²: bias matters most in scans of low noise.
    """
    pairs = len(output) // 2 * 2
    error, noise = ((image - target)[:pairs].unflatten(0, (-1, 2)) for image in (output, low))
    first, second = target[:pairs].unflatten(0, (-1, 2)).flatten(2).unbind(1)
    common = (first == second).all(dim=1) * torch.mean(error.mean(dim=1) ** 2, dim=(1, 2, 3))
    before = torch.mean(noise**2, dim=(1, 2, 3, 4))
    fading = (1 + before / (bias_noise_hu / SCALE_HU) ** 2) ** -2
    bias = fading * common / (before + (floor_hu / SCALE_HU) ** 2)
    return relative_mse(output, target, low, floor_hu) + bias_weight * bias.sum() / max(pairs // 2, 1)


def ssim(output: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of each patch (B,), data range 1.0 = 500 HU (Wang 2004, 10.1109/TIP.2003.819861).

    7×7 uniform window where it fits the patch, sample variances, K1 = 0.01, K2 = 0.03: scikit-image's defaults, as in
    the paper's protocol.
    """
    mean_a, mean_b, squares_a, squares_b, products = (
        avg_pool2d(x, SSIM_WINDOW, stride=1) for x in (output, target, output**2, target**2, output * target)
    )
    sample = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)
    variances = sample * (squares_a - mean_a**2 + squares_b - mean_b**2)
    covariance = sample * (products - mean_a * mean_b)
    similarity = (2 * mean_a * mean_b + 0.01**2) * (2 * covariance + 0.03**2)
    return (similarity / ((mean_a**2 + mean_b**2 + 0.01**2) * (variances + 0.03**2))).mean(dim=(1, 2, 3))


LOSSES: Mapping[LossName, Callable[..., Tensor]] = {"mse": mse, "relative_mse": relative_mse, "unbiased": unbiased}


def build_loss(config: OptimiserConfig) -> Loss:
    """The loss of a configuration, with the options that apply to it."""
    loss = LOSSES[config.loss]
    known = {
        name: getattr(config, name)
        for name in ("floor_hu", "means_weight", "bias_weight", "bias_noise_hu")
        if name in signature(loss).parameters
    }
    return partial(loss, **known)


def paper_metrics(output: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Mean over the patches of RMSE, PSNR in dB and SSIM, data range 1.0 = 500 HU: the paper's protocol."""
    rmse = torch.sqrt(torch.mean((output - target) ** 2, dim=(1, 2, 3)))
    psnr = -20 * torch.log10(rmse.clamp_min(1e-6))
    return {"rmse": rmse.mean(), "psnr": psnr.mean(), "ssim": ssim(output, target).mean()}
