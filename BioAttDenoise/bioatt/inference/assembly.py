"""A Denoiser from EngineOptions, for the command line and Slicer's worker alike."""

from __future__ import annotations

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.compute import device as devices
from bioatt.core.errors import InputError
from bioatt.inference.denoiser import Denoiser
from bioatt.inference.models import default_model, load_model
from bioatt.inference.options import EngineOptions
from bioatt.inference.run import SMALLEST_TILE
from bioatt.priors import build_prior


def make_denoiser(options: EngineOptions) -> Denoiser:
    """The Denoiser that the options describe.

    A descriptor set of the user's own has its own prompts, windows and structures and must contain the model's
    descriptors by name; its other columns are dropped from p, and the rest scaled to sum to 1.
    Raises InputError as `Denoiser`, `load_descriptor_set` and `build_prior` do, and with the list of the model's
    descriptors that the set lacks.
    """
    if options.tile is not None and options.tile < SMALLEST_TILE:
        raise InputError(
            f"tile size {options.tile} px: give {SMALLEST_TILE} or more, smaller ones take minutes a slice"
        )
    if options.descriptors is None:
        return Denoiser(
            options.model,
            prior=options.prior,
            device=options.device,
            precision=options.precision,
            tile=options.tile,
        )
    own = load_descriptor_set(options.descriptors)
    device = devices.choose(options.device, options.precision).device
    model = load_model(default_model(device.type) if options.model == "auto" else options.model)
    own.check_covers(model.descriptors)
    complete = not model.network.none_passes
    prior = build_prior(model.prior_source(options.prior), descriptors=own, device=str(device), complete=complete)
    return Denoiser(model, prior=prior, device=options.device, precision=options.precision, tile=options.tile)
