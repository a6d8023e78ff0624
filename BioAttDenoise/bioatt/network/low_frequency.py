"""Local means of an image, which a denoised one can be made to keep (`BioAttNetwork.keep_means`)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d


class GaussianMeans(nn.Module):
    """Gaussian blur of (B, 1, H, W), cut off at 3 σ; zeros beyond the border.

    sigma_px: σ in pixels. radius: how far it sees. share: part of the means that is given back (see `keep_means`).
    """

    kernel: Tensor

    def __init__(self, sigma_px: float, share: float = 1.0) -> None:
        super().__init__()
        self.share = share
        self.radius = math.ceil(3 * sigma_px)
        self.register_buffer("kernel", torch.empty(2 * self.radius + 1), persistent=False)
        self.narrow(sigma_px)

    @torch.no_grad()
    def narrow(self, sigma_px: float) -> None:
        """Blur from now on with another σ, no larger than the first: the radius stays."""
        self.sigma_px = sigma_px
        taps = torch.exp(-0.5 * (torch.arange(-self.radius, self.radius + 1) / sigma_px) ** 2)
        self.kernel.copy_(taps / taps.sum())

    def forward(self, image: Tensor) -> Tensor:
        """The blurred image; of a shorter type than float32 it becomes float32, also under autocast."""
        with torch.autocast(image.device.type, enabled=False):
            exact = image.to(torch.promote_types(image.dtype, torch.float32))
            kernel = self.kernel.to(exact.dtype)
            rows = conv2d(exact, kernel[None, None, :, None], padding=(self.radius, 0))
            return conv2d(rows, kernel[None, None, None, :], padding=(0, self.radius))
