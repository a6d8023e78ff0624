"""Losses between a denoised and a target patch, on pixels with full context, and the paper's metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from bioatt.core.hu import SCALE_HU
from bioatt.core.metrics import SSIM_WINDOW
from bioatt_training.fit.config import LossName

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(output, target, low) (B, 1, H, W) → scalar."""


def interior(patch: Tensor, margin: int) -> Tensor:
    """The patch (…, H, W) without `margin` pixels on each side, which lack context."""
    return patch[..., margin : patch.shape[-2] - margin, margin : patch.shape[-1] - margin]


def mse(output: Tensor, target: Tensor, low: Tensor) -> Tensor:
    """Mean squared error, the paper's loss. It weights patches by their noise variance."""
    return torch.mean((output - target) ** 2)


def relative_mse(output: Tensor, target: Tensor, low: Tensor, floor_hu: float = 2.0) -> Tensor:
    """Mean over patches of the squared error relative to the input's, so that all noise levels have equal weight.

    floor_hu: added in quadrature to the input's root mean square error. An untrained network needs about 20 HU: with
    smaller values it converges to the identity, the optimum for clean patches. Plain MSE is dominated by the noisiest
    patches and over-smooths the others.
    """
    error, before = (torch.mean((image - target) ** 2, dim=(1, 2, 3)) for image in (output, low))
    return torch.mean(error / (before + (floor_hu / SCALE_HU) ** 2))


def ssim(output: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of each patch (B,), data range 1.0 = 500 HU (Wang 2004, 10.1109/TIP.2003.819861).

    7×7 uniform window within the patch, sample variances, K1 = 0.01, K2 = 0.03: scikit-image's defaults, as in the
    paper's protocol.
    """
    mean_a, mean_b, squares_a, squares_b, products = (
        avg_pool2d(x, SSIM_WINDOW, stride=1) for x in (output, target, output**2, target**2, output * target)
    )
    sample = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)
    variances = sample * (squares_a - mean_a**2 + squares_b - mean_b**2)
    covariance = sample * (products - mean_a * mean_b)
    similarity = (2 * mean_a * mean_b + 0.01**2) * (2 * covariance + 0.03**2)
    return (similarity / ((mean_a**2 + mean_b**2 + 0.01**2) * (variances + 0.03**2))).mean(dim=(1, 2, 3))


LOSSES: Mapping[LossName, Loss] = {"mse": mse, "relative_mse": partial(relative_mse, floor_hu=20.0)}
"""Training losses by name."""


def paper_metrics(output: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Mean over the patches of RMSE, PSNR in dB and SSIM, data range 1.0 = 500 HU: the paper's protocol."""
    rmse = torch.sqrt(torch.mean((output - target) ** 2, dim=(1, 2, 3)))
    psnr = -20 * torch.log10(rmse.clamp_min(1e-6))
    return {"rmse": rmse.mean(), "psnr": psnr.mean(), "ssim": ssim(output, target).mean()}
