"""Priors that the model was not trained with: blended only as far as necessary, with a warning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.core.metrics import psnr
from bioatt.core.volume import Volume
from bioatt.inference.denoiser import Denoiser
from bioatt.inference.models import TrainedModel
from bioatt.inference.report import report
from bioatt.network import build_network
from bioatt.priors import FixedPrior, Prior, build_prior
from bioatt.priors.guard import PriorGuard, blended, trained_rise
from bioatt.priors.spatial import SpatialRows
from bioatt.simulation.acquisition import scan
from bioatt.simulation.phantom import torso

NAMES = load_descriptor_set("paper17").descriptors
RISE = 0.09
ONE_HOT = np.eye(len(NAMES), dtype=np.float32)


def never() -> Prior:
    raise AssertionError("the trained prior was asked for")


@pytest.fixture
def model() -> TrainedModel:
    torch.manual_seed(0)
    metadata = {
        "descriptor_set": "paper17",
        "descriptors": NAMES,
        "prior": "maps",
        "training": {"prior_rise": RISE},
    }
    return TrainedModel(build_network("bioatt", 4, len(NAMES)).eval(), metadata, "tiny", "")


@pytest.fixture
def low() -> Volume:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:64j, -1:1:72j]
    hu = np.where(np.hypot(x, y) < 0.9, 40.0, -1000.0) + 20 * rng.normal(size=(3, 64, 72))
    return Volume(np.rint(hu).astype(np.int16), spacing=(5.0, 5.0, 3.0))


@pytest.mark.parametrize("sharpness", [0.02, 0.1, 0.5, 5.0])
@pytest.mark.parametrize("pixels", [(), (5, 4)])
def test_what_is_shown_is_a_distribution_in_range(sharpness, pixels):
    rng = np.random.default_rng(3)
    for _ in range(30):
        q = rng.dirichlet(np.full(17, rng.choice([0.2, 1.0, 50.0]))).astype(np.float32)
        p = np.moveaxis(rng.dirichlet(np.full(17, sharpness), size=pixels), -1, 0).astype(np.float32)
        shown, share = blended(p, q, RISE)
        anchor = q.reshape(17, *(1,) * len(pixels))
        assert shown.shape == p.shape
        assert share.shape == pixels
        assert shown.min() >= 0
        np.testing.assert_allclose(shown.sum(axis=0), 1, atol=1e-5)
        assert ((shown - anchor) / (1 - anchor)).max() <= RISE + 1e-6
        np.testing.assert_allclose(shown, (1 - share) * p + share * anchor, atol=1e-6)
        inside = ((p - anchor) / (1 - anchor)).max(axis=0) <= RISE
        assert np.all(share[inside] == 0)
        assert np.array_equal(shown[:, inside], p[:, inside])
        assert np.all(np.abs(((shown - anchor) / (1 - anchor)).max(axis=0)[~inside] - RISE) < 1e-6), (
            "no further than it must be"
        )


def test_pixels_that_no_organ_claims_get_the_trained_prior():
    q = np.full(17, 1 / 17, np.float32)
    p = np.zeros((17, 2, 2), np.float32)
    p[:, 0, 0] = q
    shown, share = blended(p, q, RISE)
    np.testing.assert_allclose(shown, np.broadcast_to(q[:, None, None], p.shape), atol=1e-7)
    assert share.tolist() == [[0, 1], [1, 1]]


def test_flat_priors_pass_untouched_and_a_model_that_tells_no_range_takes_any():
    uniform = np.full(17, 1 / 17, np.float32)
    flat, peaked = (Prior(p[None], NAMES, "file", ("",)) for p in (uniform, ONE_HOT[3]))
    np.testing.assert_array_equal(PriorGuard(flat, RISE, never)(0), uniform)
    guard = PriorGuard(peaked, None, never)
    np.testing.assert_array_equal(guard(0), ONE_HOT[3])
    assert guard.warnings() == []


def test_a_model_trained_under_every_prior_takes_sums_below_one_too():
    assert trained_rise({"training": {"prior_rise": 1}}) is None
    half = Prior(
        SpatialRows(lambda _: ONE_HOT[3][:, None, None] / 2, (0,), (*range(17),), 17, (1, 1)), NAMES, "", ("",)
    )
    np.testing.assert_array_equal(PriorGuard(half, None, never)(0), half.p[0])


def test_a_peaked_prior_is_blended_with_the_organ_maps_one_and_said(model, low):
    denoiser = Denoiser(model, prior=FixedPrior(ONE_HOT[16], NAMES), device="cpu", precision="fp32")
    result = denoiser.denoise(low)
    trained = np.asarray(build_prior("maps", descriptors=denoiser.descriptors).probabilities(low).p)
    shown = [blended(ONE_HOT[16], q, RISE)[0] for q in trained]
    table = Prior(np.stack(shown), NAMES, "file", low.slice_ids)
    unguarded = replace(model, metadata={**model.metadata, "training": {}})
    told = Denoiser(unguarded, prior=table, device="cpu", precision="fp32").denoise(low)
    np.testing.assert_array_equal(result.volume.hu, told.volume.hu)
    np.testing.assert_array_equal(result.prior.p, np.tile(ONE_HOT[16], (3, 1)))  # the requested prior
    (line,) = [line for line in result.warnings if "prior" in line]
    assert "from file" in line
    assert "3 of 3 slices" in line
    assert "of the prior maps" in line
    said = report(result)
    assert line in said["warnings"]
    assert len(said["prior_blended"]) == 3
    assert min(said["prior_blended"]) > 0.8
    assert not any("prior" in line for line in told.warnings)


def test_a_prior_by_hand_is_guarded_as_in_the_volume(model, low):
    whole = Denoiser(model, prior=FixedPrior(ONE_HOT[4], NAMES), device="cpu", precision="fp32").denoise(low)
    preview = Denoiser(model, device="cpu", precision="fp32").preview(low, 1, p=ONE_HOT[4])
    np.testing.assert_array_equal(preview.volume.hu[0], whole.volume.hu[1])
    assert preview.prior_blended[0] == whole.prior_blended[1]
    assert any("override" in line for line in preview.warnings)


@pytest.mark.parametrize("source", ["maps", "embedded", "uniform"])
def test_what_the_model_was_trained_with_is_shown_bit_for_bit(model, low, source):
    unguarded = replace(model, metadata={**model.metadata, "training": {}})
    one, other = (
        Denoiser(each, prior=source, device="cpu", precision="fp32").denoise(low) for each in (model, unguarded)
    )
    np.testing.assert_array_equal(one.volume.hu, other.volume.hu)
    assert not one.prior_blended.any()
    assert one.warnings == other.warnings


def test_masks_are_blended_where_they_are_and_in_stacks_that_are_not_axial(model, low):
    def row(_: int) -> np.ndarray:
        p = np.full((17, 64, 72), 1 / 17, np.float32)
        p[:, 20:40, 20:40] = ONE_HOT[8][:, None, None]
        return p

    rows = SpatialRows(row, (0, 1, 2), tuple(range(17)), 17, (64, 72))
    prior = Prior(rows, NAMES, "segmentation", low.slice_ids)
    result = Denoiser(model, prior=prior, device="cpu", precision="fp32").denoise(low)
    assert (result.prior_blended > 0.8).all()
    assert sum("segmentation" in line for line in result.warnings) == 1
    coronal = Volume(low.hu[:, 28:36], (5.0, 3.0, 5.0), direction=np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]]))
    result = Denoiser(model, prior=FixedPrior(ONE_HOT[0], NAMES), device="cpu", precision="fp32").denoise(coronal)
    assert result.prior_blended.shape == (len(result.prior.slice_ids),)
    assert (result.prior_blended > 0.8).all()


@pytest.fixture(scope="module")
def phantom() -> tuple[Volume, Volume]:
    body, _ = torso(5, slices=1, size=192, z_range=(-60.0, -50.0))
    reference, (low,) = scan(body, (0.1,), seed=1)
    return reference, low


@pytest.mark.parametrize("name", ["bioatt", "bioatt-fast"])
def test_a_peaked_prior_costs_the_shipped_models_next_to_nothing(phantom, name):
    reference, low = phantom

    def quality(prior: str | FixedPrior) -> float:
        result = Denoiser(name, prior=prior, device="cpu", precision="fp32").denoise(low, strength=1.0)
        return float(psnr(reference.hu, result.volume.hu, (-160.0, 240.0)))

    own = quality("auto")
    for organ in ("thoracic aorta", "spine"):
        assert quality(FixedPrior(ONE_HOT[NAMES.index(organ)], NAMES)) > own - 0.2, organ
