"""Trained-model files: what is written is what is read, and nothing else is believed."""

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
    x, p = torch.randn(1, 14, 40, 40), torch.full((1, 17), 1 / 17)
    assert torch.equal(again.network(x, p), half.float()(x, p))


def test_means_and_weights_for_little_noise_survive_the_file(make_model, tmp_path):
    model = make_model(means_px=2.5, quiet=True, mixture_noise_hu=[15, 40])
    again = read_model(tmp_path / "tiny.safetensors")
    assert again.interpolated.noise_hu == (15.0, 40.0)
    assert again.interpolated.noisy is again.network
    x, p = torch.randn(1, 1, 40, 40), torch.full((1, 17), 1 / 17)
    for name in ("quiet", "noisy"):
        one, other = (getattr(found.interpolated, name) for found in (model, again))
        assert other.low_pass.sigma_px == 2.5
        assert torch.equal(one(x, p), other(x, p))
    assert not torch.equal(again.interpolated.quiet(x, p), again.network(x, p))


def test_a_smaller_scale_for_little_noise_needs_no_second_weights(make_model, tmp_path):
    model = make_model(means_px=2.5)
    quiet = copy.deepcopy(model.network)
    quiet.preserve_low_frequencies(1.5)
    path = tmp_path / "both.safetensors"
    save_model(path, model.network, {**model.metadata, "mixture_noise_hu": [15, 40]}, quiet)
    again = read_model(path).interpolated
    assert (again.quiet.low_pass.sigma_px, again.noisy.low_pass.sigma_px) == (1.5, 2.5)
    assert all(torch.equal(value, again.noisy.state_dict()[name]) for name, value in again.quiet.state_dict().items())
    assert path.stat().st_size < 1.1 * (tmp_path / "tiny.safetensors").stat().st_size


def test_means_that_only_little_noise_keeps_survive_the_file(make_model, tmp_path):
    model = make_model()
    quiet = copy.deepcopy(model.network)
    quiet.preserve_low_frequencies(2.5)
    path = tmp_path / "both.safetensors"
    save_model(path, model.network, {**model.metadata, "mixture_noise_hu": [15, 40]}, quiet)
    again = read_model(path)
    x, p = torch.randn(1, 1, 40, 40), torch.full((1, 17), 1 / 17)
    assert torch.equal(again.network(x, p), model.network(x, p))
    assert torch.equal(again.interpolated.quiet(x, p), quiet(x, p))
    again.interpolated.apply(again.network, 5.0)
    assert torch.equal(again.network(x, p), quiet(x, p)), "the network that is run can keep them"


def test_one_network_with_the_metadata_of_two_is_one(make_model):
    """Metadata are often another model's, changed."""
    model = make_model(mixture_noise_hu=[15, 40], quiet_means_px=2.5)
    assert (model.interpolated, model.network.low_pass) == (None, None)


def test_a_file_of_the_first_format_is_read(make_model, tmp_path):
    """It knew neither kept means nor weights by noise."""
    model = make_model()
    path = tmp_path / "tiny.safetensors"
    header = {**model.metadata, "format": 1}
    del header["means_px"]
    weights = safetensors.torch.load_file(path)
    safetensors.torch.save_file(weights, path, metadata={"bioatt": json.dumps(header)})
    again = read_model(path)
    assert (again.interpolated, again.network.low_pass) == (None, None)


def test_shipped_models_load_and_match_their_catalogue():
    entries = catalogue()
    assert {default_model("cpu"), default_model("cuda")} <= {entry.name for entry in entries}
    for entry in entries:
        model = load_model(entry.name)
        assert model.sha256 == entry.sha256
        assert (resources_folder() / "Models" / entry.file).with_suffix(".md").is_file()
        assert {"noise_hu", "pixel_mm", "slice_thickness_mm", "kernels"} <= set(model.metadata["training"])


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
        ("means_px", -1.0, "means_px -1"),
        ("means_px", 1e9, "means_px 1"),
        ("mixture_noise_hu", [32.0, 20.0], "32.0 and 20.0"),
        ("mixture_noise_hu", [32.0], "not a BioAtt model"),
        ("means_px", "many", "not a BioAtt model"),
        ("quiet_means_px", 99.0, "quiet_means_px 99"),
        ("descriptor_set", None, "not a BioAtt model"),
    ],
)
def test_a_header_that_would_be_misread_is_refused(make_model, tmp_path, key, value, word):
    """Another normalisation, taken for ours, would give wrong HU without a word."""
    make_model(quiet=True, mixture_noise_hu=[15, 40])
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


def test_a_header_gains_what_training_tells_and_the_weights_stay(make_model, tmp_path):
    before = make_model()
    path = tmp_path / "tiny.safetensors"
    sha256 = models.add_to_training(path, {"prior_rise": 0.09})
    after = load_model(path)
    assert after.sha256 == sha256 != before.sha256
    assert after.metadata["training"] == {**before.metadata["training"], "prior_rise": 0.09}
    weights = after.network.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in before.network.state_dict().items())


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
        {"means_px": {}},
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
