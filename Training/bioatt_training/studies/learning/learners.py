"""The compared methods: a pixel loss, ALDEN and its ablations, and training without pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bioatt_training.adversarial.methods import Alden, LowDose, Unpaired
from bioatt_training.data.bank import DOSE
from bioatt_training.fit.config import Config, DataConfig, Method, NetworkConfig, OptimiserConfig, RunConfig

ALDEN = Alden(width=16, discriminator_rate=0.5)
LOW_DOSES = (0.5, 0.8)
"""Fraction of the low dose at which Noisier2Noise sees it."""


@dataclass(frozen=True)
class Learner:
    """A training method: its name and description in the report, and the method of the configuration."""

    name: str
    said: str
    method: Method | None = None


LEARNERS: Mapping[str, Learner] = {  # in the order in which they are trained
    "pixels": Learner("pixel loss", "pairs; squared error of pixels alone"),
    "alden": Learner("ALDEN", "pairs; all its terms", ALDEN),
    "noisier2noise": Learner("Noisier2Noise", "low dose only, more noise added", LowDose()),
    "no-discriminator": Learner(
        "ALDEN without discriminator", "pairs; pixels, perceptual, contrast", replace(ALDEN, adversarial=0.0)
    ),
    "no-semantics": Learner(
        "ALDEN without semantics",
        "pairs; the discriminator sees no reference features",
        replace(ALDEN, semantics=False),
    ),
    "no-contrast": Learner(
        "ALDEN without contrast", "pairs; pixels, perceptual, adversarial", replace(ALDEN, contrast=0.0)
    ),
    "unpaired": Learner(
        "unpaired",
        "low dose of the noisier half of the patients, full dose of the others",
        Unpaired(width=16, discriminator_rate=0.5),
    ),
    "no-perceptual": Learner(
        "ALDEN without perceptual loss", "pairs; pixels, contrast, adversarial", replace(ALDEN, perceptual=0.0)
    ),
    "neighbours": Learner("Noise2Noise", "low dose only, neighbouring slices", LowDose(learn="neighbours")),
}


@dataclass(frozen=True)
class Size:
    """Budget of each: steps of batch patches of patch² px, and filters of the network."""

    steps: int = 300
    filters: int = 12
    patch: int = 48
    batch: int = 4
    seed: int = 1


def configuration(name: str, bank: str, size: Size) -> Config:
    """The training configuration of a learner. All share the network, the optimiser and the number of patches."""
    method = LEARNERS[name].method
    run = RunConfig(
        f"learning-{name}",
        "1",
        size.seed,
        validate_every=size.steps // 4,
        save_every=100,
        export="last",
        ema_decay=0.99,
        precision="32-true",
    )
    optimiser = OptimiserConfig(steps=size.steps // 4 * 4, loss="relative_mse", margin=8)
    data = DataConfig(
        bank,
        patch=size.patch,
        batch=size.batch,
        validation_patches=32,
        doses=LOW_DOSES if isinstance(method, LowDose) else (DOSE, DOSE),
        prior_perturbation=0.0,
    )
    return Config(run, NetworkConfig("base", "gated_unet", size.filters), optimiser, data, method)
