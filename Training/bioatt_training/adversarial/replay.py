"""Replay of earlier fakes to a discriminator, so that it does not forget them (Shrivastava 2017, 1612.07828)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Replay:
    """`slots` earlier fakes for each batch position.

    Stored by position and drawn from seed, step and position alone, so that resumed runs and the processes sharing a
    batch see the same fakes. first: the first batch position of this process.
    """

    def __init__(self, slots: int, seed: int, first: int = 0) -> None:
        self.slots, self.seed, self.first = slots, seed, first
        self.held: Tensor | None = None
        """(positions, filled slots, 1, H, W)."""

    def exchanged(self, fakes: Tensor, step: int) -> Tensor:
        """Return half of the fakes (B, 1, H, W), and for the others an earlier fake, which they replace."""
        if not self.slots:
            return fakes
        if self.held is None or self.held.shape[1] < self.slots:
            new = fakes.unsqueeze(1)
            self.held = new.clone() if self.held is None else torch.cat([self.held.to(fakes), new], dim=1)
            return fakes
        held, shown = self.held.to(fakes), fakes.clone()
        for place in range(len(fakes)):
            rng = np.random.default_rng([self.seed, step, self.first + place])
            if rng.random() < 0.5:
                slot = int(rng.integers(self.slots))
                shown[place], held[place, slot] = held[place, slot], fakes[place]
        self.held = held
        return shown
