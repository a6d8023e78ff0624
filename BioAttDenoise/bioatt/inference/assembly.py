"""A Denoiser from the options that a user gives: by the command line and by Slicer's worker alike."""

from __future__ import annotations

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.compute import device as devices
from bioatt.core.errors import InputError
from bioatt.inference.denoiser import Denoiser
from bioatt.inference.models import default_model, load_model
from bioatt.inference.run import SMALLEST_TILE
from bioatt.priors import build_prior


def make_denoiser(
    model: str = "auto",
    *,
    prior: str = "embedded",
    descriptors: str | None = None,
    device: str = "auto",
    precision: devices.Precision = "auto",
    tile: int | None = None,
) -> Denoiser:
    """`Denoiser`, its prior over a descriptor set of the user's own (a name or a .json file) where one is given.

    Such a set has prompts, windows and structures of its own, and covers the model's descriptors by name; what the
    model does not know is left out of p, and the rest scaled to sum to 1.
    Raises InputError as `Denoiser`, `load_descriptor_set` and `build_prior` do, and with the list where the set lacks
    some of the model's descriptors.
    """
    if tile is not None and tile < SMALLEST_TILE:
        raise InputError(f"tile size {tile} px: give {SMALLEST_TILE} or more, smaller ones take minutes a slice")
    if descriptors is None:
        return Denoiser(model, prior=prior, device=device, precision=precision, tile=tile)
    own = load_descriptor_set(descriptors)
    compute = devices.choose(device, precision)
    loaded = load_model(default_model(compute.device.type) if model == "auto" else model)
    own.check_covers(loaded.descriptors)
    over_own = build_prior(prior, descriptors=own, device=str(compute.device))
    return Denoiser(loaded, prior=over_own, device=device, precision=precision, tile=tile)
