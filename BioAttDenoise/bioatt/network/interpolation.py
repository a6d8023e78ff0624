"""One network trained twice: for scans of little and of much noise. What lies between gets a mixture of the weights.

Where there is little noise an edge is worth more than the rest of the noise; where there is much, the noise hides both.
One training for both ends gives up some of each. Trainings that begin with the same weights stay connected: a network
with a mixture of the weights does what lies between (deep network interpolation, Wang 2019, arXiv 1811.10515).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from bioatt.network.base import BioAttNetwork


@dataclass(frozen=True)
class InterpolatedWeights:
    """The weights for scans of little noise, `quiet`, and of much, `noisy`.

    The quiet end may keep means of a smaller scale (what is lost by that is little), or keep means alone: where there
    is much noise, part of it is in the means.
    noise_hu: a slice's noise (`bioatt.core.noise`) up to which `quiet` alone is used, and from which on `noisy`
    alone; linear between. Raises ValueError where the noisy end alone keeps means, or those of a smaller scale.
    """

    quiet: BioAttNetwork
    noisy: BioAttNetwork
    noise_hu: tuple[float, float]

    def __post_init__(self) -> None:
        quiet, noisy = self.quiet.means, self.noisy.means
        if noisy is not None and (quiet is None or quiet.sigma_px > noisy.sigma_px):
            raise ValueError("means for little noise must be of no larger scale than those for much")

    def share(self, noise_hu: float) -> float:
        """Share of `noisy` for a slice of this noise; 0 for NaN: where none can be told, the least is taken away."""
        low, high = self.noise_hu
        return 0.0 if math.isnan(noise_hu) else min(max((noise_hu - low) / (high - low), 0.0), 1.0)

    @torch.no_grad()
    def tune(self, network: BioAttNetwork, noise_hu: float) -> None:
        """Give a network of their kind, on any device, the weights for a slice of this noise."""
        share = self.share(noise_hu)
        ends = zip(self.quiet.parameters(), self.noisy.parameters(), strict=True)
        for weights, (quiet, noisy) in zip(network.parameters(), ends, strict=True):
            weights.copy_(torch.lerp(quiet, noisy, share))
        quiet_means, noisy_means = self.quiet.means, self.noisy.means
        if network.means is not None and quiet_means is not None:
            kept = noisy_means if noisy_means is not None and noisy_means.share else None
            wide = quiet_means.sigma_px if kept is None else kept.sigma_px
            network.means.narrow(quiet_means.sigma_px + share * (wide - quiet_means.sigma_px))
            network.means.share = 1 - share if kept is None else 1.0
