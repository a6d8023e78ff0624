"""Trained-model files: they read back as written, and anything invalid is refused."""

from __future__ import annotations

import copy
import json

import pytest
import safetensors.torch
import torch

from bioatt.core.errors import InputError
from bioatt.core.resources import resources_folder
from bioatt.inference import models
from bioatt.inference.models import catalogue, default_model, load_model, read_model, save_model
from bioatt.network import build_network


def test_a_model_survives_its_file(make_model, tmp_path):
    model = make_model(filters=5, version="3.1")
    again = read_model(tmp_path / "tiny.safetensors")
    x, p = torch.randn(1, 1, 40, 40), torch.full((1, 17), 1 / 17)
    assert torch.equal(model.network(x, p), again.network(x, p))
    assert (again.version, again.sha256) == ("3.1", model.sha256)
    assert again.metadata["normalisation"] == {"offset_hu": -500.0, "scale_hu": 500.0}
    assert again.descriptors[8] == "liver"


def test_weights_of_half_precision_are_used_as_float32(make_model, tmp_path):
    model = make_model(layout="slab_unet", prior="maps")
    half = copy.deepcopy(model.network).half()
    path = tmp_path / "half.safetensors"
    save_model(path, half, model.metadata)
    again = read_model(path)
    assert path.stat().st_size < 0.6 * (tmp_path / "tiny.safetensors").stat().st_size
    assert (again.metadata["layout"], again.metadata["prior"]) == ("slab_unet", "maps")
    assert {value.dtype for value in again.network.state_dict().values()} == {torch.float32}
    x, p = torch.randn(1, 6, 40, 40), torch.full((1, 17), 1 / 17)
    assert torch.equal(again.network(x, p), half.float()(x, p))


def test_a_file_of_the_first_format_is_read(make_model, tmp_path):
    model = make_model()
    path = tmp_path / "tiny.safetensors"
    weights = safetensors.torch.load_file(path)
    safetensors.torch.save_file(weights, path, metadata={"bioatt": json.dumps({**model.metadata, "format": 1})})
    assert read_model(path).network.kind == model.network.kind


def test_shipped_models_load_and_match_their_catalogue():
    entries = catalogue()
    assert {default_model("cpu"), default_model("cuda")} <= {entry.name for entry in entries}
    for entry in entries:
        model = load_model(entry.name)
        assert model.sha256 == entry.sha256
        assert (resources_folder() / "Models" / entry.file).with_suffix(".md").is_file()
        assert {"noise_hu", "pixel_mm", "slice_thickness_mm", "kernels"} <= set(model.metadata["training"])


def test_weights_stored_as_int8_are_near_and_take_half_of_float16(tmp_path):
    network = build_network("bioatt", 16, 3)
    metadata = {"version": "1", "descriptor_set": "tiny", "descriptors": ["a", "b", "c"], "training": {}}
    with torch.no_grad():
        for weights in network.parameters():
            weights.copy_(torch.randn(weights.shape, generator=torch.Generator().manual_seed(weights.numel())))
            weights[0] *= 100  # each output channel has its own scale
    save_model(tmp_path / "int8.safetensors", network, metadata, as_int8=True)
    save_model(tmp_path / "float16.safetensors", copy.deepcopy(network).half(), metadata)
    found = read_model(tmp_path / "int8.safetensors").network.state_dict()
    for name, value in network.state_dict().items():
        rows = value.flatten(1) if value.ndim > 1 else value[:, None]
        error = (found[name] - value).reshape(rows.shape).abs()
        assert (error <= rows.abs().amax(1, keepdim=True) * (0.501 / 127)).all()
        assert value.ndim > 1 or torch.equal(found[name], value)
    assert (tmp_path / "int8.safetensors").stat().st_size < 0.6 * (tmp_path / "float16.safetensors").stat().st_size


def test_int8_weights_without_their_scales_are_refused(make_model, tmp_path):
    make_model()
    path = tmp_path / "tiny.safetensors"
    with safetensors.safe_open(path, framework="pt") as file:
        header = file.metadata()
    weights = {name: value.to(torch.int8) for name, value in safetensors.torch.load_file(path).items()}
    safetensors.torch.save_file(weights, path, metadata=header)
    with pytest.raises(InputError, match="not a BioAtt model"):
        read_model(path)


def test_unknown_models_are_refused_with_the_list():
    with pytest.raises(InputError, match=default_model("cpu")):
        load_model("nonesuch")
    with pytest.raises(InputError, match="does not exist"):
        load_model("nonesuch.safetensors")


def test_damaged_weights_are_refused(make_model, tmp_path, monkeypatch):
    make_model()
    path = tmp_path / "tiny.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    entry = models.CatalogueEntry("tiny", path.name, "0" * 64, "", path)
    monkeypatch.setattr(models, "catalogue", lambda: (entry,))
    with pytest.raises(InputError, match="damaged"):
        load_model("tiny")
    path.write_bytes(content[:200])
    with pytest.raises(InputError, match="safetensors"):
        read_model(path)


@pytest.mark.parametrize("header", [{}, {"bioatt": "not json"}, {"bioatt": json.dumps({"format": 1})}])
def test_foreign_safetensors_are_refused(tmp_path, header):
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(2)}, path, metadata=header)
    with pytest.raises(InputError, match="not a BioAtt model"):
        read_model(path)


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("format", 99, "format 99"),
        ("normalisation", {"offset_hu": -1024.0, "scale_hu": 4000.0}, "normalisation"),
        ("padding", "zeros", "padding"),
        ("arm", "transformer", "transformer"),
        ("weighting", "astral", "astral"),
        ("layout", "transformer", "transformer"),
        ("training", {"noise_hu": None}, "not a BioAtt model"),
        ("training", {"pixel_mm": [2.0, 1.0]}, "pixel_mm"),
        ("means_px", 4.0, "before version 1.0.0"),
        ("mixture_noise_hu", [15.0, 21.0], "before version 1.0.0"),
        ("descriptor_set", None, "not a BioAtt model"),
    ],
)
def test_a_header_that_would_be_misread_is_refused(make_model, tmp_path, key, value, word):
    """A different normalisation taken for ours would silently give wrong HU."""
    make_model()
    path = tmp_path / "tiny.safetensors"
    with safetensors.safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["bioatt"])
    weights = safetensors.torch.load_file(path)
    safetensors.torch.save_file(weights, path, metadata={"bioatt": json.dumps({**header, key: value})})
    with pytest.raises(InputError, match=word):
        read_model(path)


def test_a_partial_file_is_never_left(make_model, tmp_path):
    make_model()
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.safetensors"]


def test_a_range_of_priors_that_is_none_is_refused(make_model):
    with pytest.raises(InputError, match="prior_rise"):
        make_model(training={"prior_rise": 0.0})


@pytest.mark.parametrize(
    "changes",
    [
        {"descriptors": "heart"},
        {"descriptors": [1, 2]},
        {"descriptors": None},
        {"training": []},
        {"training": {"kernels": [3]}},
        {"filters": "many"},
        {"filters": 1 << 62},
        {"version": None, "arm": ["bioatt"]},
    ],
)
def test_a_header_of_wrong_types_blames_the_model(make_model, tmp_path, changes):
    make_model()
    path = tmp_path / "tiny.safetensors"
    _rewrite(path, lambda header: header.update(changes))
    with pytest.raises(InputError, match=r"tiny"):
        read_model(path)


def test_weights_that_are_no_numbers_blame_the_model(make_model, tmp_path):
    make_model()
    path = tmp_path / "tiny.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-4] + b"\x00\x00\xc0\x7f")
    with pytest.raises(InputError, match=r"tiny.*NaN or infinite weights"):
        read_model(path)


def _rewrite(path, change):
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    described = json.loads(header["__metadata__"]["bioatt"])
    change(described)
    header["__metadata__"]["bioatt"] = json.dumps(described)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[end:])
