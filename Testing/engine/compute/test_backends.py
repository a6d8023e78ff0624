"""OpenVINO compared with PyTorch: same results, prompt cancellation, no telemetry."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from bioatt.compute import backends
from bioatt.compute.backends.openvino import OpenVinoNetwork
from bioatt.core.errors import Cancelled, InputError
from bioatt.inference.attention import AttentionRequest
from bioatt.inference.denoiser import Denoiser

needs_openvino = pytest.mark.skipif("openvino" not in backends.installed(), reason="OpenVINO is not installed")
PROMISED_HU = 0.01


def pair(model, **options):
    """Denoisers of one model with the PyTorch and OpenVINO backends."""
    given = {"prior": "uniform", "device": "cpu", "precision": "fp32", **options}
    return Denoiser(model, **given), Denoiser(model, backend="openvino", **given)


@needs_openvino
@pytest.mark.parametrize("layout", ["unet", "red_cnn", "slab_unet"])
def test_every_layout_comes_out_the_same(make_model, make_volume, layout):
    """The slices differ in noise level."""
    volume = make_volume(slices=3, dtype=np.float32)
    quiet = make_volume(slices=3, noise=8.0, dtype=np.float32)
    volume.hu[2] = quiet.hu[2]
    torch_, openvino = pair(make_model(layout=layout))
    expected, found = torch_.denoise(volume, strength=1.0), openvino.denoise(volume, strength=1.0)
    assert np.abs(expected.volume.hu - volume.hu).max() > 5
    assert np.abs(expected.volume.hu - found.volume.hu).max() <= PROMISED_HU
    assert (expected.backend, found.backend) == ("torch", "openvino")


@needs_openvino
def test_a_spatial_prior_tiles_and_other_sizes(make_model, make_volume):
    model = make_model(layout="unet")
    for options in ({"prior": "maps:spatial"}, {"tile": 64}):
        torch_, openvino = pair(model, **options)
        for size in ((72, 80), (90, 66)):
            volume = make_volume(1, *size, dtype=np.float32)
            difference = torch_.denoise(volume).volume.hu - openvino.denoise(volume).volume.hu
            assert np.abs(difference).max() <= PROMISED_HU


@needs_openvino
def test_attention_maps_are_recorded_all_the_same(make_model, make_volume):
    torch_, openvino = pair(make_model())
    request = AttentionRequest(descriptors=("lungs",))
    expected, found = (one.denoise(make_volume(1), attention=request).attention for one in (torch_, openvino))
    assert found.keys() == expected.keys()
    np.testing.assert_array_equal(found["last", "lungs"].hu, expected["last", "lungs"].hu)


@needs_openvino
def test_cancelling_ends_within_a_slice(make_model, make_volume):
    """`cancelled` is polled while OpenVINO computes, not only between slices."""
    denoiser = pair(make_model("bioatt", filters=48))[1]
    denoiser.denoise(make_volume(1))
    volume = make_volume(1, 512, 512)
    start = time.monotonic()
    denoiser.denoise(volume)
    whole = time.monotonic() - start
    start = time.monotonic()
    with pytest.raises(Cancelled):
        denoiser.denoise(volume, cancelled=lambda: time.monotonic() - start > 0.3 * whole)
    assert time.monotonic() - start < 0.9 * whole
    assert denoiser.denoise(make_volume(1)).volume.shape[0] == 1


@needs_openvino
def test_a_converted_network_is_kept_and_read_again_only_as_it_was_written(
    make_model, make_volume, tmp_path, monkeypatch
):
    """The cached network gives bit-identical results; a file that is damaged or has other weights is not used."""
    monkeypatch.setenv("BIOATT_TUNING", "on")
    monkeypatch.setenv("BIOATT_MODELS", str(tmp_path))
    model, volume = make_model(), make_volume(1)
    first = pair(model)[1].denoise(volume).volume.hu
    (kept,) = (tmp_path / "openvino").iterdir()
    conversions = []
    convert = OpenVinoNetwork._converted
    monkeypatch.setattr(
        OpenVinoNetwork, "_converted", lambda self, *given: conversions.append(1) or convert(self, *given)
    )
    np.testing.assert_array_equal(pair(model)[1].denoise(volume).volume.hu, first)
    assert not conversions

    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    kept.write_bytes(content)
    np.testing.assert_array_equal(pair(model)[1].denoise(volume).volume.hu, first)
    assert len(conversions) == 1
    np.testing.assert_array_equal(pair(model)[1].denoise(volume).volume.hu, first)
    assert len(conversions) == 1  # the previous run replaced the damaged file

    with torch.no_grad():
        next(model.network.parameters()).mul_(1.5)
    assert np.abs(pair(model)[1].denoise(volume).volume.hu - first).max() > 1
    assert len(conversions) == 2


@needs_openvino
def test_nothing_is_kept_where_it_cannot_be_or_is_not_wanted(make_model, make_volume, tmp_path, monkeypatch):
    monkeypatch.setenv("BIOATT_MODELS", str(tmp_path / "models"))
    pair(make_model())[1].denoise(make_volume(1))
    assert not (tmp_path / "models").exists()
    monkeypatch.setenv("BIOATT_TUNING", "on")
    (tmp_path / "models").write_text("a file in the way")
    pair(make_model())[1].denoise(make_volume(1))
    assert (tmp_path / "models").is_file()


@needs_openvino
def test_telemetry_is_never_loaded():
    """The package that reports over the network is not imported, even if it is installed."""
    program = (
        "import sys; from bioatt.compute.backends.openvino import import_openvino; ov = import_openvino();"
        "ov.convert_model; print([m for m in sys.modules if m.startswith('openvino_telemetry') and sys.modules[m]])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_openvino_is_refused_where_it_cannot_compute(make_model, monkeypatch):
    model = make_model()
    with pytest.raises(InputError, match="fp32 or bf16" if "openvino" in backends.installed() else "pip install"):
        Denoiser(model, device="cpu", precision="fp16", backend="openvino")
    monkeypatch.setattr(backends, "installed", lambda: ("torch",))
    with pytest.raises(InputError, match="pip install"):
        Denoiser(model, device="cpu", backend="openvino")
    with pytest.raises(InputError, match="unknown backend"):
        Denoiser(model, device="cpu", backend="onnx")
