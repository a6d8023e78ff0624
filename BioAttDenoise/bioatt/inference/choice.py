"""The fastest way to compute a model on this CPU, by timing a slice; half precision where it is exact enough."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from bioatt.compute.backends import installed
from bioatt.compute.device import Precision, cpu_has_bf16
from bioatt.compute.tuning import Choice, machine, remember, remembered, tuning_wanted
from bioatt.core.body import body_mask
from bioatt.core.volume import Volume
from bioatt.inference.denoiser import Denoiser
from bioatt.inference.models import TrainedModel

BUDGET_S = 3.0
ROUNDS = 5
TOLERANCE_HU, SHARE = 0.5, 0.999
"""Half precision is taken where it is within this of float32 on this share of the body's pixels."""
WORTH = 0.95
"""A later candidate must need less than this share of an earlier one's time."""
SIDE_PX, NOISE_HU = 192, 35.0

Clock = Callable[[], float]


def known_choice(model: TrainedModel) -> Choice | None:
    """What was measured for this model on this machine; None before its first run."""
    return remembered(machine(model.sha256)) if tuning_wanted() else None


def choose_by_measuring(model: TrainedModel, clock: Clock = time.perf_counter) -> Choice:
    """What was measured for this model on this machine; else measure it now, in about BUDGET_S seconds, and keep it."""
    key = machine(model.sha256)
    found = remembered(key)
    if found is None:
        found, measured = measure(model, candidates(), clock)
        remember(key, found, measured)
    return found


def candidates() -> list[Choice]:
    """All combinations that this machine can compute, the plainest first."""
    threads = torch.get_num_threads()
    counts = [threads, *([threads // 2] if threads >= 4 else [])]
    precisions: tuple[Precision, ...] = ("fp32", "bf16") if cpu_has_bf16() else ("fp32",)
    return [Choice(name, kind, count) for kind in precisions for name in installed() for count in counts]


def measure(model: TrainedModel, among: list[Choice], clock: Clock) -> tuple[Choice, list[dict[str, Any]]]:
    """The fastest exact enough, and each candidate's seconds for the slice and error in HU. The first is the reference.

    Candidates take turns, and the least time counts: other programs only ever add to it. Once the budget is spent, no
    further candidate is begun.
    """
    volume = probe_slice()
    body = body_mask(volume.hu[0])
    threads, start = torch.get_num_threads(), clock()
    tried: dict[Choice, tuple[Denoiser, float]] = {}
    reference: NDArray[np.float32] | None = None
    try:
        for choice in among:
            if tried and clock() - start > BUDGET_S:
                break
            denoiser = Denoiser(
                model, prior="uniform", device="cpu", precision=choice.precision, backend=choice.backend
            )
            output = _run(denoiser, choice, volume)[body]
            reference = output if reference is None else reference
            error = float(np.quantile(np.abs(output - reference), SHARE))
            if error <= TOLERANCE_HU:
                tried[choice] = denoiser, error
        seconds = dict.fromkeys(tried, np.inf)
        for number in range(ROUNDS):
            for choice, (denoiser, _) in tried.items():
                if number and clock() - start > BUDGET_S:
                    break
                before = clock()
                _run(denoiser, choice, volume)
                seconds[choice] = min(seconds[choice], clock() - before)
    finally:
        torch.set_num_threads(threads)
    best = among[0]
    for choice in tried:
        if seconds[choice] < WORTH * seconds[best]:
            best = choice
    return best, [
        {"way": str(choice), "seconds": round(seconds[choice], 4), "error_hu": round(error, 4)}
        for choice, (_, error) in tried.items()
    ]


def _run(denoiser: Denoiser, choice: Choice, volume: Volume) -> NDArray[np.float32]:
    torch.set_num_threads(choice.threads)
    return denoiser.denoise(volume, strength=1.0).volume.hu[0]


def probe_slice() -> Volume:
    """A drawn torso (fat, soft tissue, lungs, spine) with the coarse noise of about a quarter of the dose, float32."""
    y, x = (np.mgrid[:SIDE_PX, :SIDE_PX] + 0.5) * 2 / SIDE_PX - 1
    hu = np.full((SIDE_PX, SIDE_PX), -1000.0)
    for centre, radii, value in (
        ((0.0, 0.0), (0.92, 0.72), -100.0),
        ((0.0, 0.0), (0.84, 0.64), 45.0),
        ((-0.42, -0.05), (0.26, 0.42), -850.0),
        ((0.42, -0.05), (0.26, 0.42), -850.0),
        ((0.0, 0.42), (0.11, 0.13), 450.0),
    ):
        hu[((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 < 1] = value
    noise = gaussian_filter(np.random.default_rng(0).normal(size=hu.shape), 0.8)
    hu += NOISE_HU * noise / noise.std()
    return Volume(hu[None].astype(np.float32), spacing=(1.9, 1.9, 5.0))
