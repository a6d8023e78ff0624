"""Weight interpolation between a network trained for low noise and one trained for high noise.

At low noise, preserving edges matters more than the remaining noise; at high noise, the noise hides both. A single
training is a compromise at either end. Networks fine-tuned from the same weights can be interpolated in weight space
(deep network interpolation, Wang 2019, arXiv 1811.10515).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bioatt.network.base import BioAttNetwork


@dataclass(frozen=True)
class InterpolatedWeights:
    """Weights for low noise, `quiet`, and for high noise, `noisy`, with linear interpolation between them.

    noise_hu: noise level of a slice (`bioatt.core.noise`) up to which `quiet` alone is used, and from which on `noisy`
    alone. Low-frequency preservation may be stronger at the quiet end only, where little noise lies at low frequencies:
    with a smaller σ, or with none at the noisy end. Raises ValueError where the noisy end alone preserves low
    frequencies, or has the smaller σ.
    """

    quiet: BioAttNetwork
    noisy: BioAttNetwork
    noise_hu: tuple[float, float]

    def __post_init__(self) -> None:
        quiet, noisy = self.quiet.low_pass, self.noisy.low_pass
        if noisy is not None and (quiet is None or quiet.sigma_px > noisy.sigma_px):
            raise ValueError("sigma of low-frequency preservation must not be larger for low noise than for high noise")

    def share(self, noise_hu: float) -> float:
        """Weight of `noisy`, 0 to 1, for a slice of this noise level; 0 for NaN, where least should be removed."""
        low, high = self.noise_hu
        return 0.0 if math.isnan(noise_hu) else min(max((noise_hu - low) / (high - low), 0.0), 1.0)

    @cached_property
    def _ends(self) -> list[tuple[Tensor, Tensor]]:
        """Parameters of either end: to look them up takes longer than to interpolate them."""
        return list(zip(self.quiet.parameters(), self.noisy.parameters(), strict=True))

    @torch.no_grad()
    def apply(self, network: BioAttNetwork, noise_hu: float) -> None:
        """Set the parameters of a network of the same kind, on any device, to those for this noise level."""
        share = self.share(noise_hu)
        for weights, (quiet, noisy) in zip(network.parameters(), self._ends, strict=True):
            weights.copy_(torch.lerp(quiet, noisy, share))
        low = self.quiet.low_pass
        if network.low_pass is not None and low is not None:
            high = self.noisy.low_pass
            active = high if high is not None and high.share else None
            largest = low.sigma_px if active is None else active.sigma_px
            network.low_pass.set_sigma(low.sigma_px + share * (largest - low.sigma_px))
            network.low_pass.share = 1 - share if active is None else 1.0
