"""Construction of a Denoiser from EngineOptions, for the command line and Slicer's worker."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.compute import device as devices
from bioatt.compute.device import Precision
from bioatt.compute.probe import probe
from bioatt.compute.tuning import Choice, candidates, machine, measure, remember, remembered, tuning_wanted
from bioatt.core.body import body_mask
from bioatt.core.errors import InputError
from bioatt.inference.denoiser import Denoiser
from bioatt.inference.models import TrainedModel, default_model, load_model
from bioatt.inference.options import EngineOptions
from bioatt.inference.run import SMALLEST_TILE
from bioatt.priors import AnatomicalPrior, build_prior

PROBE_PX = 192


def make_denoiser(options: EngineOptions) -> Denoiser:
    """Build the Denoiser that the options describe; on a CPU, "auto" chooses the fastest backend and precision.

    A custom descriptor set has its own prompts, windows and structures and must contain the model's descriptors by
    name; its other columns are dropped from p, and the rest is scaled to sum to 1.
    Raises InputError as `Denoiser`, `load_descriptor_set` and `build_prior`, and if the set lacks descriptors of the
    model, which the message lists.
    """
    if options.tile is not None and options.tile < SMALLEST_TILE:
        raise InputError(
            f"tile size {options.tile} px: give {SMALLEST_TILE} or more, smaller tiles take minutes per slice"
        )
    compute = devices.choose(options.device, options.precision)
    model = load_model(default_model(compute.device.type) if options.model == "auto" else options.model)
    prior: str | AnatomicalPrior = options.prior
    if options.descriptors is not None:
        own = load_descriptor_set(options.descriptors)
        own.check_covers(model.descriptors)
        complete, source = not model.network.none_passes, model.prior_source(options.prior)
        prior = build_prior(source, descriptors=own, device=str(compute.device), complete=complete)
    backend, precision, threads = _backend_options(options, model, compute.device.type)
    torch.set_num_threads(threads)
    return Denoiser(model, prior=prior, device=options.device, precision=precision, tile=options.tile, backend=backend)


def _backend_options(options: EngineOptions, model: TrainedModel, device_type: str) -> tuple[str, Precision, int]:
    """Backend, precision and threads from the options, or from measurement on a CPU if both options are "auto"."""
    threads = torch.get_num_threads()
    if options.backend != "auto":
        return options.backend, options.precision, threads
    if device_type != "cpu" or options.precision != "auto" or not tuning_wanted():
        return "torch", options.precision, threads
    measured = choose_by_measuring(model)
    return measured.backend, measured.precision, measured.threads


def known_choice(model: TrainedModel) -> Choice | None:
    """The stored choice for this model on this machine; None before its first run."""
    return remembered(machine(model.sha256)) if tuning_wanted() else None


def choose_by_measuring(model: TrainedModel, clock: Callable[[], float] = time.perf_counter) -> Choice:
    """The stored choice for this model on this machine; if there is none, measure it in a few seconds.

    It is stored only if there was time to try all candidates.
    """
    key = machine(model.sha256)
    found = remembered(key)
    if found is None:
        threads, ways = torch.get_num_threads(), candidates()
        try:
            found, measured = measure(_prober(model), ways, clock)
        finally:
            torch.set_num_threads(threads)
        if len(measured) == len(ways):  # a busy machine may lack the time for all
            remember(key, found, measured)
    return found


def _prober(model: TrainedModel) -> Callable[[Choice], NDArray[np.float32]]:
    """Return a function that denoises the probe as a choice specifies and returns its body pixels."""
    volume = probe(PROBE_PX)
    body = body_mask(volume.hu[0])
    made: dict[Choice, Denoiser] = {}

    def run(choice: Choice) -> NDArray[np.float32]:
        torch.set_num_threads(choice.threads)
        if choice not in made:
            made[choice] = Denoiser(
                model, prior="uniform", device="cpu", precision=choice.precision, backend=choice.backend
            )
        return made[choice].denoise(volume, strength=1.0).volume.hu[0][body]

    return run
