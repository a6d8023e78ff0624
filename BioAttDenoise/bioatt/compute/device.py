"""Choice of device and precision, and settings for the CPU and its memory allocator."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from bioatt.core.errors import InputError

Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Compute:
    """Device and precision of the network; `dtype` is for autocast, None for plain float32."""

    device: torch.device
    dtype: torch.dtype | None

    @property
    def precision(self) -> Precision:
        """`fp32`, `bf16` or `fp16`, as in reports."""
        names: dict[torch.dtype | None, Precision] = {None: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
        return names[self.dtype]

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """Context for the network's forward pass; float32 is exact even on GPUs that would use TF32."""
        exact = torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False)
        mixed = torch.autocast(self.device.type, dtype=self.dtype or torch.bfloat16, enabled=self.dtype is not None)
        with exact, mixed:
            yield


def choose(device: str = "auto", precision: Precision = "auto") -> Compute:
    """Resolve `auto | cpu | cuda | cuda:N | mps | xpu` (untried, never auto) and `auto | fp32 | bf16 | fp16`.

    Raises InputError for a device that this machine lacks, an unknown name, or a torch that is incompatible with the
    installed NumPy.
    """
    _check_numpy()
    chosen = _device(device)
    if precision == "auto":
        return Compute(chosen, _fast_dtype(chosen))
    try:
        dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    except KeyError:
        raise InputError(f"unknown precision {precision!r}: use auto, fp32, bf16 or fp16") from None
    return Compute(chosen, dtype)


def available() -> list[dict[str, str]]:
    """Devices that torch can compute on, best first: {"name": for `choose`, "label": for display}."""
    devices = [
        {"name": f"cuda:{index}", "label": f"{properties.name}, {properties.total_memory / 2**30:.0f} GB"}
        for index in range(torch.cuda.device_count())
        for properties in [torch.cuda.get_device_properties(index)]
    ]
    if torch.backends.mps.is_available():
        devices.append({"name": "mps", "label": "Apple GPU"})
    threads = torch.get_num_threads()
    return [*devices, {"name": "cpu", "label": f"CPU, {threads} thread{'s' * (threads != 1)}"}]


def _check_numpy() -> None:
    try:
        torch.zeros(1).numpy()
    except RuntimeError:
        raise InputError(
            f"torch {torch.__version__} is incompatible with NumPy {np.__version__}: install torch 2.3 or newer "
            "(not available for Intel Macs) or, outside Slicer, NumPy 1"
        ) from None


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps", "xpu"):
        raise InputError(f"unknown device {name!r}: use auto, cpu, cuda, cuda:N, mps or xpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {name} is not available (CUDA devices found: {torch.cuda.device_count()}): use auto")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("device mps is not available on this machine: use auto")
    found = torch.xpu.device_count() if hasattr(torch, "xpu") else 0
    if device.type == "xpu" and (device.index or 0) >= found:
        raise InputError(f"device {name} is not available on this machine or in this torch (found: {found}): use auto")
    return device


def _fast_dtype(device: torch.device) -> torch.dtype | None:
    """Half precision where it is faster: float16 on GPUs and bf16 on CPUs with AMX; without AMX, float32 is faster.

    On GPUs, 99.9 % of the body is within 0.4 HU of float32 in float16, but only within 3 HU in bf16 (three bits fewer).
    """
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if device.type == "cpu" and cpu_has_amx() else None


def cpu_has_amx() -> bool:
    """Whether the CPU has AMX tiles and oneDNN may use them.

    torch does not expose oneDNN's limit on instruction sets, so the variable ONEDNN_MAX_CPU_ISA, or its older name, is
    read here (oneDNN's guide, "CPU Dispatcher Control"); values that allow AMX contain "AMX".
    """
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    limit = (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "DEFAULT").upper()
    allowed = limit in ("DEFAULT", "ALL") or "AMX" in limit
    return bool(probe and probe()) and allowed and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def cpu_has_bf16() -> bool:
    """Whether both the CPU's instructions (AVX-512 BF16 or AMX) and oneDNN's limit on them allow bf16."""
    probes = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    native = any(probe() for probe in probes if probe is not None)
    return native and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def tune_cpu() -> None:
    """Configure the whole process for networks on the CPU. The project's programs call it; other programs may.

    Denormal numbers, about a hundred times slower than normal ones, occur in weights and gradients near 0 and are
    flushed to 0. On glibc, freed activations stay in the process for the next layer instead of being returned to the
    system; page faults would otherwise take a quarter of the time.
    """
    torch.set_flush_denormal(True)
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4  # malloc.h
    libc = ctypes.CDLL(None)
    libc.mallopt(m_mmap_max, 0)
    libc.mallopt(m_trim_threshold, 2**31 - 1)
    libc.mallopt(m_top_pad, 512 << 20)
