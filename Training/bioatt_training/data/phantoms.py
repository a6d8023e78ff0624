"""Slices of simulated torsos for a bank, with noise-free targets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bioatt.core.volume import Volume
from bioatt.priors import AnatomicalPrior
from bioatt.simulation.acquisition import Scanner, scan
from bioatt.simulation.phantom import TRAINING_SEEDS_FROM, torso
from bioatt.simulation.tomography import Geometry
from bioatt_training.data.bank import DOSE

SLICES = 4
SMOOTH_TO_SHARP = ("B10", "B20", "B30", "B40", "B50", "B60", "D45", "B70", "LUNG")
"""Kernels to draw from where another than the scan's own is wanted."""


class PhantomSlices(NamedTuple):
    """Noise-free reconstruction (canonical), its quarter-dose noise (z, y, x) HU, the prior (z, N) of the low dose."""

    name: str
    clean: Volume
    noise: NDArray[np.float32]
    p: NDArray[np.float32]
    kernel: str


def phantom_slices(number: int, prior: AnatomicalPrior, seed: int) -> PhantomSlices:
    """Four slices of the random torso `number` (0, 1, …), whose kernel, thickness and exposure are drawn from both.

    Seeds of torsos count from `TRAINING_SEEDS_FROM`, so that none is a torso of the demonstration or the tests.
    """
    body_seed = TRAINING_SEEDS_FROM + number
    rng = np.random.default_rng([seed, body_seed])
    kernel = str(rng.choice(SMOOTH_TO_SHARP))
    body, _ = torso(body_seed, SLICES, thickness_mm=float(rng.choice([1.5, 3.0, 5.0])))
    scanner = Scanner(geometry=Geometry().coarser(views=2), kernel=kernel, noise_index=float(rng.uniform(8, 30)))
    clean, (low,) = scan(body, (DOSE,), scanner=scanner, seed=body_seed)
    p = np.asarray(prior.probabilities(low).p, np.float32)
    return PhantomSlices(f"phantom-{body_seed}", clean, low.hu.astype(np.float32) - clean.hu, p, kernel)
