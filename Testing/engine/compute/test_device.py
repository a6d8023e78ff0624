"""Devices and precisions: never one that the hardware does not truly have."""

from __future__ import annotations

import pytest
import torch

from bioatt.compute import device as devices
from bioatt.core.errors import InputError


def test_bf16_needs_both_the_cpu_and_onednn(monkeypatch):
    """oneDNN alone says yes on CPUs that only emulate bf16, thirty times slower than float32."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert devices.choose("cpu").precision == "fp32"


def test_auto_never_fails():
    assert devices.choose().device.type in ("cpu", "cuda", "mps")


def test_precision_is_honoured():
    assert devices.choose("cpu", "fp32").dtype is None
    assert devices.choose("cpu", "bf16").precision == "bf16"


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "tpu", "meta"])
def test_devices_that_are_not_there_are_refused(name):
    with pytest.raises(InputError, match="auto"):
        devices.choose(name)


def test_a_torch_of_another_numpy_is_told_in_one_line(monkeypatch):
    """As torch 2.2, the last one for Intel Macs, answers beside NumPy 2."""

    def unavailable(self):
        raise RuntimeError("Numpy is not available")

    monkeypatch.setattr(torch.Tensor, "numpy", unavailable)
    with pytest.raises(InputError, match="cannot work with NumPy"):
        devices.choose("cpu")


def test_unknown_precision_is_refused():
    with pytest.raises(InputError, match="fp32"):
        devices.choose("cpu", "int8")
