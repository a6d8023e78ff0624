"""ALDEN (arXiv 2508.07788): pixel, feature, adversarial and semantic contrastive losses combined.

Only the paper's abstract was available: architecture and weights follow the mechanisms it names and their closest
published relatives, SeD (Li 2024, arXiv 2402.19387) for the discriminator and ASCON (Chen 2023, arXiv 2307.12225) for
the contrast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bioatt_training.adversarial.contrast import contrast
from bioatt_training.adversarial.discriminator import Discriminator, discriminator_loss, frozen, generator_loss
from bioatt_training.adversarial.features import load_features
from bioatt_training.adversarial.guard import GuardedExperiment
from bioatt_training.adversarial.perceptual import DISTANCES
from bioatt_training.fit.config import Config
from bioatt_training.fit.experiment import Batch

if TYPE_CHECKING:
    from bioatt_training.adversarial.methods import Alden


class AldenExperiment(GuardedExperiment):
    """Trains `network` on pairs against a discriminator in a single backward pass; see `methods.Alden`."""

    def __init__(self, config: Config, descriptors: int, steps: int, epoch_steps: int) -> None:
        super().__init__(config, descriptors, steps, epoch_steps)
        self.method: Alden = config.method  # type: ignore[assignment]
        self.features = load_features(self.method.features)
        semantics = self.features.channels if self.method.semantics else ()
        self.discriminator = Discriminator(self.method.width, semantics) if self.method.adversarial else None

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Sum of the weighted terms, and of the discriminator's own loss."""
        return self._total(self.terms(*self._interiors(batch)))

    def terms(self, output: Tensor, target: Tensor, low: Tensor) -> dict[str, Tensor]:
        """The weighted losses by name; standardised (B, 1, H, W)."""
        method, features = self.method, self.features.to(output.device)
        with torch.no_grad():
            reference = features(target)
        terms = {"pixel": method.pixel * self.loss(output, target, low)}
        if method.perceptual or method.contrast:
            found = features(output)
        if method.perceptual:
            terms["perceptual"] = method.perceptual * DISTANCES[method.distance](found, reference)
        if method.contrast:
            with torch.no_grad():
                noisy = features(low)
            loss = contrast(
                found, reference, noisy, self._generator(), places=method.places, temperature=method.temperature
            )
            terms["contrast"] = method.contrast * loss
        if self.discriminator is not None:
            judge, semantics = self.discriminator, reference if method.semantics else []
            with frozen(judge):
                terms["adversarial"] = method.adversarial * generator_loss(method.adversary, judge(output, semantics))
            fake = judge(output.detach(), semantics)
            terms["discriminator"] = discriminator_loss(method.adversary, judge(target, semantics), fake)
        return terms

    def _generator(self) -> torch.Generator:
        """Seeded by the step alone, so that a resumed run draws the same values."""
        words = [self.config.run.seed, 2, self.global_step]
        return torch.Generator().manual_seed(int(np.random.SeedSequence(words).generate_state(1)[0]))

    def _trained(self) -> Any:
        return self._groups([self.network], [self.discriminator] if self.discriminator is not None else [])
