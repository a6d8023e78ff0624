"""Strength by organ: it acts where the organ is, blends at borders, and changes nothing if all strengths are equal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.core.errors import InputError
from bioatt.core.volume import Volume
from bioatt.inference.denoiser import Denoiser
from bioatt.inference.report import report
from bioatt.network.organ_maps import OrganMapNetwork
from bioatt.priors import organ_maps
from bioatt.priors.anatomy import anatomy_of_labels
from bioatt.priors.organ_maps import FILE, OrganMapPrior, save_organ_maps

PAPER = load_descriptor_set("paper17")


@pytest.fixture
def tiny(make_model):
    return Denoiser(make_model(), prior="uniform", device="cpu", precision="fp32")


@pytest.fixture
def scan(make_volume):
    return make_volume(slices=4, dtype=np.float32)


@pytest.fixture
def masks(scan):
    """Liver on the left, spleen next to it, on all slices but the first."""
    labels = np.zeros(scan.shape, np.int16)
    labels[1:, 20:50, 16:36], labels[1:, 20:50, 36:46] = 5, 1
    return anatomy_of_labels(replace(scan, hu=labels), {5: "liver", 1: "spleen"})


@pytest.fixture
def maps(tmp_path):
    """Organ maps of a small random network."""
    torch.manual_seed(3)
    network = OrganMapNetwork(18, (8, 8, 16, 16)).eval()
    torch.nn.init.normal_(network.head.weight, 0, 0.5)
    calibration = {"temperature": 1.0, "slope": [1.0] * 17, "offset": [0.0] * 17}
    save_organ_maps(tmp_path / FILE, network, {"descriptors": list(PAPER.descriptors), "calibration": calibration})
    return OrganMapPrior(PAPER, path=tmp_path / FILE)


def test_organ_maps_that_are_the_prior_are_not_found_twice(make_model, scan, monkeypatch):
    seen, find = [], organ_maps.cell_probabilities
    monkeypatch.setattr(organ_maps, "cell_probabilities", lambda *a: seen.append(1) or find(*a))
    organ_maps.forget()
    denoiser = Denoiser(make_model(), prior="maps", device="cpu", precision="fp32")
    assert denoiser.denoise(scan, organ_strength={"liver": 0.2}).anatomy == "organ maps"
    assert len(seen) == len(scan.hu)


class Unwanted:
    """A source of anatomy that must not be used."""

    def maps(self, volume, *, cancelled=None):
        raise AssertionError("nobody asked where the organs are")


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_equal_strengths_are_bit_identical_to_none_by_organ(tiny, make_volume, dtype):
    volume = make_volume(dtype=dtype)
    plain = tiny.denoise(volume, strength=0.6)
    equal = tiny.denoise(volume, strength=0.6, organ_strength={"liver": 0.6, "lungs": 0.6}, anatomy=Unwanted())
    np.testing.assert_array_equal(equal.volume.hu, plain.volume.hu)
    assert equal.anatomy is None


def test_each_organ_gets_its_share_of_the_change(tiny, scan, masks):
    full = tiny.denoise(scan, strength=1).volume.hu - scan.hu
    result = tiny.denoise(scan, strength=0.5, organ_strength={"liver": 1, "Spleen": 0}, anatomy=masks)
    change = result.volume.hu - scan.hu
    np.testing.assert_allclose(change[0], full[0] / 2, atol=1e-3)
    np.testing.assert_allclose(change[2, 28:42, 24:28], full[2, 28:42, 24:28], rtol=1e-3)
    np.testing.assert_allclose(change[2, 30:40, 41:42], 0, atol=0.05 * np.abs(full).max())
    share = np.median(change[2, 30:40, 35:37] / full[2, 30:40, 35:37])
    assert 0.3 < share < 0.7, "half of both at their border"
    assert (result.organ_strength, result.anatomy) == ({"liver": 1.0, "spleen": 0.0}, "segmentation")
    written = report(result)
    assert (written["organ_strength"], written["anatomy"]) == ({"liver": 1.0, "spleen": 0.0}, "segmentation")


@pytest.mark.parametrize("source", ["masks", "maps"])
def test_a_slice_is_as_in_its_volume_and_tiles_do_not_show(make_model, scan, masks, maps, source):
    anatomy = {"masks": masks, "maps": maps}[source]
    wanted = {"organ_strength": {name: k / 16 for k, name in enumerate(PAPER.descriptors)}, "anatomy": anatomy}
    denoiser = Denoiser(make_model(), prior="uniform", device="cpu", precision="fp32")
    whole = denoiser.denoise(scan, **wanted).volume.hu
    assert (whole != denoiser.denoise(scan).volume.hu).any()
    for k in (0, 2):
        np.testing.assert_allclose(denoiser.preview(scan, k, **wanted).volume.hu[0], whole[k], atol=1e-4)
    tiled = Denoiser(make_model(), prior="uniform", device="cpu", precision="fp32", tile=17)
    assert np.abs(tiled.denoise(scan, **wanted).volume.hu - whole).max() <= 0.01


def test_a_coronal_stack_keeps_its_organs_in_place(tiny, scan, masks):
    turned = Volume(
        scan.hu.transpose(1, 0, 2).copy(),
        spacing=(0.8, 3.0, 0.8),
        direction=np.array([[1.0, 0, 0], [0, 0, 1], [0, 1, 0]]),
    )
    wanted = {"strength": 0.2, "organ_strength": {"liver": 1.0}, "anatomy": masks}
    axial = tiny.denoise(scan, **wanted).volume.hu.transpose(1, 0, 2)
    coronal = tiny.denoise(turned, **wanted).volume.hu
    np.testing.assert_allclose(coronal, axial, atol=0.02)
    np.testing.assert_allclose(tiny.preview(turned, 30, **wanted).volume.hu[0], coronal[30], atol=0.02)


def test_what_cannot_be_used_is_refused_before_the_run(tiny, scan, masks):
    with pytest.raises(InputError, match="unknown organ 'liver lobe'"):
        tiny.denoise(scan, organ_strength={"liver lobe": 0.5})
    with pytest.raises(InputError, match="between 0 and 1"):
        tiny.preview(scan, 0, organ_strength={"liver": 2})
    with pytest.raises(InputError, match="unknown anatomy source 'biomedclip'"):
        tiny.denoise(scan, organ_strength={"liver": 0.5}, anatomy="biomedclip")
    elsewhere = replace(scan, origin=(5000.0, 0.0, 0.0))
    with pytest.raises(InputError, match="does not overlap"):
        tiny.denoise(elsewhere, organ_strength={"liver": 0.5}, anatomy=masks)
