"""BioAttDenoise's engine: anatomy-guided low-dose CT denoising, without Slicer.

    from bioatt import Denoiser, read_volume, write_volume
    volume = read_volume("low.nrrd")
    result = Denoiser("bioatt").denoise(volume)
    write_volume(result.volume, "denoised.nrrd")

Names load on first use, so that `bioatt.core` and `bioatt.io` never import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bioatt.compute.device import tune_cpu as tune_cpu
    from bioatt.core.errors import BioAttError as BioAttError
    from bioatt.core.errors import Cancelled as Cancelled
    from bioatt.core.errors import InputError as InputError
    from bioatt.core.strength import TargetNoise as TargetNoise
    from bioatt.core.volume import Volume as Volume
    from bioatt.inference.denoiser import Denoiser as Denoiser
    from bioatt.inference.denoiser import Result as Result
    from bioatt.inference.models import load_model as load_model
    from bioatt.io.images import read_volume as read_volume
    from bioatt.io.images import write_volume as write_volume
    from bioatt.network import build_network as build_network
    from bioatt.priors import build_prior as build_prior

__version__ = "0.1.0"

_HOMES = {
    "BioAttError": "core.errors",
    "Cancelled": "core.errors",
    "InputError": "core.errors",
    "TargetNoise": "core.strength",
    "Volume": "core.volume",
    "read_volume": "io.images",
    "write_volume": "io.images",
    "Denoiser": "inference.denoiser",
    "Result": "inference.denoiser",
    "build_network": "network",
    "load_model": "inference.models",
    "build_prior": "priors",
    "tune_cpu": "compute.device",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bioatt' has no attribute {name!r}")
    return getattr(importlib.import_module(f"bioatt.{_HOMES[name]}"), name)
