"""Devices and precisions: never one the hardware lacks, nor one both slower and less exact than float32."""

from __future__ import annotations

import pytest
import torch

from bioatt.compute import device as devices
from bioatt.core.errors import InputError


@pytest.fixture
def cpu(monkeypatch):
    """Return a function that simulates a CPU with AVX-512 BF16, with or without AMX, and oneDNN's ISA limit."""

    def pretend(amx, limit=None, name="ONEDNN_MAX_CPU_ISA", onednn=True):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)
        monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
        monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
        if limit is not None:
            monkeypatch.setenv(name, limit)

    return pretend


@pytest.mark.parametrize("limit", [None, "", "ALL", "DEFAULT", "AVX512_CORE_AMX", "AVX10_1_512_AMX_FP16"])
def test_auto_is_bf16_on_a_cpu_with_amx(cpu, limit):
    cpu(amx=True, limit=limit)
    assert devices.choose("cpu").precision == "bf16"


@pytest.mark.parametrize("limit", ["SSE41", "AVX2", "AVX512_CORE", "AVX512_CORE_BF16", "AVX512_CORE_FP16", "avx2"])
@pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
def test_auto_is_float32_where_onednn_may_not_use_amx(cpu, limit, name):
    cpu(amx=True, limit=limit, name=name)
    assert devices.choose("cpu").precision == "fp32"


@pytest.mark.parametrize("limit", [None, "ALL", "AVX512_CORE_AMX"])
def test_auto_is_float32_on_a_cpu_without_amx(cpu, limit):
    """With AVX-512 BF16 alone, bf16 is slower than float32 and changes voxels by several HU."""
    cpu(amx=False, limit=limit)
    assert devices.choose("cpu").precision == "fp32"
    assert devices.choose("cpu", "bf16").precision == "bf16"


def test_auto_is_float32_where_onednn_cannot_multiply_bf16(cpu):
    cpu(amx=True, onednn=False)
    assert devices.choose("cpu").precision == "fp32"


def test_auto_never_fails():
    assert devices.choose().device.type in ("cpu", "cuda", "mps")


def test_precision_is_honoured():
    assert devices.choose("cpu", "fp32").dtype is None
    assert devices.choose("cpu", "bf16").precision == "bf16"


@pytest.mark.parametrize(
    "name",
    ["gpu", "cuda:99", "xpu:99", "tpu", "meta"],
)
def test_devices_that_are_not_there_are_refused(name):
    with pytest.raises(InputError, match="auto"):
        devices.choose(name)


def test_a_torch_of_another_numpy_is_told_in_one_line(monkeypatch):
    """torch 2.2, the last version for Intel Macs, raises this error with NumPy 2."""

    def unavailable(self):
        raise RuntimeError("Numpy is not available")

    monkeypatch.setattr(torch.Tensor, "numpy", unavailable)
    with pytest.raises(InputError, match="incompatible with NumPy"):
        devices.choose("cpu")


def test_unknown_precision_is_refused():
    with pytest.raises(InputError, match="fp32"):
        devices.choose("cpu", "int8")
