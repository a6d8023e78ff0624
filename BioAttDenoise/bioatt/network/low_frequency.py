"""Low-pass filter for low-frequency preservation (`BioAttNetwork.preserve_low_frequencies`)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d


class GaussianLowPass(nn.Module):
    """Separable Gaussian blur of (B, 1, H, W), truncated at 3 σ, zero padding.

    sigma_px: σ in pixels. radius: half-width of the kernel in pixels. share: fraction of the blurred residual that is
    added back, 0 to 1.
    """

    kernel: Tensor

    def __init__(self, sigma_px: float, share: float = 1.0) -> None:
        super().__init__()
        self.share = share
        self.radius = math.ceil(3 * sigma_px)
        self.register_buffer("kernel", torch.empty(2 * self.radius + 1), persistent=False)
        self.set_sigma(sigma_px)

    @torch.no_grad()
    def set_sigma(self, sigma_px: float) -> None:
        """Change σ to a value not above the initial one; the radius, and with it the network's halo, stays."""
        self.sigma_px = sigma_px
        taps = torch.exp(-0.5 * (torch.arange(-self.radius, self.radius + 1) / sigma_px) ** 2)
        self.kernel.copy_(taps / taps.sum())

    def forward(self, image: Tensor) -> Tensor:
        """The blurred image, computed in at least float32, also under autocast."""
        with torch.autocast(image.device.type, enabled=False):
            exact = image.to(torch.promote_types(image.dtype, torch.float32))
            kernel = self.kernel.to(exact.dtype)
            rows = conv2d(exact, kernel[None, None, :, None], padding=(self.radius, 0))
            return conv2d(rows, kernel[None, None, None, :], padding=(0, self.radius))
