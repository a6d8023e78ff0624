"""Backends that compute a network: PyTorch always, OpenVINO if installed.

A backend is built for a network and computes its residual: `backend(x, p)` is `network.residual(x, p)`. The few
operations around it (padding, HU scaling) always run in PyTorch.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from bioatt.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from bioatt.compute.device import Compute

BackendName = Literal["torch", "openvino"]
BACKENDS: dict[BackendName, str] = {"torch": "PyTorch", "openvino": "OpenVINO"}
"""Option names and display names."""


Forward = Callable[["Tensor", "Tensor | None"], "Tensor"]


def installed() -> tuple[BackendName, ...]:
    """Backends installed on this machine; found without importing them."""
    return tuple(name for name in BACKENDS if name == "torch" or importlib.util.find_spec(name) is not None)


def versions() -> dict[str, str]:
    """Version of each installed backend."""
    return {name: importlib.metadata.version(name) for name in installed()}


def check_backend(name: str, compute: Compute) -> BackendName:
    """Check a backend's name. Raises InputError if it is unknown, not installed, or unfit for device and precision."""
    if name not in BACKENDS:
        raise InputError(f"unknown backend {name!r:.40}: use auto, {' or '.join(BACKENDS)}")
    if name not in installed():
        raise InputError(f"{BACKENDS[name]} is not installed: pip install 'bioatt[{name}]', or use --backend torch")
    if name == "openvino" and (compute.device.type != "cpu" or compute.precision == "fp16"):
        raise InputError("OpenVINO is supported on the CPU in fp32 or bf16: add --device cpu, or use --backend torch")
    return name
