"""Volume in, volume out: what users rely on, whatever the weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.core.body import body_mask, body_weight
from bioatt.core.canonical import canonical
from bioatt.core.errors import BioAttError, Cancelled, InputError
from bioatt.core.strength import DEFAULT_STRENGTH
from bioatt.core.volume import Volume
from bioatt.inference import tiling
from bioatt.inference.attention import UNIFIED, AttentionRequest, viewed
from bioatt.inference.denoiser import Denoiser
from bioatt.priors import Prior, UniformPrior
from bioatt.priors.segmentation import Segmentation, SegmentationPrior


@pytest.fixture
def tiny(make_model):
    return Denoiser(make_model(), prior="uniform", device="cpu", precision="fp32")


def test_geometry_type_and_identity_are_the_inputs(tiny, make_volume):
    volume = make_volume(origin=(1.25, -7.5, 33.0), spacing=(0.7, 0.8, 2.5))
    before = volume.hu.copy()
    result = tiny.denoise(volume).volume
    assert (result.hu.dtype, result.shape) == (volume.hu.dtype, volume.shape)
    np.testing.assert_array_equal(result.ijk_to_lps, volume.ijk_to_lps)
    assert result.slice_ids == volume.slice_ids
    assert (result.hu != volume.hu).any()
    np.testing.assert_array_equal(volume.hu, before)


def test_strength_scales_the_change(tiny, make_volume):
    volume = make_volume(dtype=np.float32)
    full = tiny.denoise(volume, strength=1).volume.hu - volume.hu
    half = tiny.denoise(volume, strength=0.5).volume.hu - volume.hu
    usual = tiny.denoise(volume).volume.hu - volume.hu
    np.testing.assert_allclose(half, full / 2, atol=1e-3)
    np.testing.assert_allclose(usual, full * DEFAULT_STRENGTH, atol=1e-3)
    np.testing.assert_array_equal(tiny.denoise(volume, strength=0).volume.hu, volume.hu)


def test_tiles_and_half_sizes_do_not_show(make_model, make_volume):
    volume = make_volume(dtype=np.float32)
    whole = Denoiser(make_model(), prior="uniform", device="cpu", precision="fp32").denoise(volume).volume.hu
    tiled = Denoiser(make_model(), prior="uniform", device="cpu", precision="fp32", tile=17).denoise(volume).volume.hu
    assert np.abs(whole - tiled).max() <= 0.01


def test_a_slice_is_denoised_alike_alone_and_in_its_volume(tiny, make_volume):
    volume = make_volume(slices=4)
    whole = tiny.denoise(volume).volume
    preview = tiny.preview(volume, 2).volume
    np.testing.assert_array_equal(preview.hu[0], whole.hu[2])
    np.testing.assert_allclose(preview.origin, (volume.ijk_to_lps @ [0, 0, 2, 1])[:3])
    part = tiny.denoise(volume, slices=range(1, 3)).volume
    np.testing.assert_array_equal(part.hu, whole.hu[1:3])


@pytest.mark.parametrize("flips", [(1, 1, -1), (-1, 1, 1), (-1, -1, -1)])
def test_orientation_of_the_file_does_not_matter(tiny, make_volume, flips):
    """The network sees LPS axial slices, however the file stores them."""
    volume = make_volume()
    steps = tuple(slice(None, None, step) for step in flips[::-1])
    corner = volume.ijk_to_lps @ [*(0 if f > 0 else n - 1 for f, n in zip(flips, volume.shape[::-1], strict=True)), 1]
    flipped = make_volume(origin=tuple(corner[:3]), direction=np.diag(flips)).with_hu(volume.hu[steps])
    np.testing.assert_array_equal(tiny.denoise(flipped).volume.hu[steps], tiny.denoise(volume).volume.hu)


def test_air_padding_and_metal_keep_their_values(tiny, make_volume):
    volume = make_volume(slices=2)
    hu = volume.hu.copy()
    hu[:, :6] = -3024
    hu[:, 40:43, 20:24] = 12000
    volume = type(volume)(hu, spacing=volume.spacing)
    result = tiny.denoise(volume).volume.hu
    assert (result[:, :6] == -3024).all()
    assert (result[:, 40:43, 20:24] == 12000).all()
    corner = body_weight(canonical(volume).volume.hu[0]) == 0
    np.testing.assert_array_equal(result[0][corner], hu[0][corner])


def test_a_prior_changes_the_result_and_is_matched_by_slice(make_model, make_volume):
    model, volume = make_model(), make_volume(slices=2)
    p = np.full((2, 17), 0.01, np.float32)
    p[0, 5] = p[1, 9] = 1 - 0.16
    ids = volume.slice_ids
    given = Prior(p, model.descriptors, "test", ids)
    shuffled = Prior(p[::-1], model.descriptors, "test", ids[::-1])
    denoise = [Denoiser(model, prior=prior, device="cpu").denoise(volume).volume.hu for prior in (given, shuffled)]
    np.testing.assert_array_equal(*denoise)
    uniform = Denoiser(model, prior="uniform", device="cpu").denoise(volume).volume.hu
    assert (uniform != denoise[0]).any()
    with pytest.raises(InputError, match="slices"):
        Denoiser(model, prior=given, device="cpu").denoise(make_volume(slices=2, seed=9))


def test_without_a_choice_the_prior_is_that_of_the_training(make_model, make_volume):
    volume = make_volume(slices=1)
    found = [
        Denoiser(make_model(prior=prior), device="cpu").denoise(volume).prior.source
        for prior in ("uniform", "random:3", "maps", "embedded", None)
    ]
    assert found == ["uniform", "random:3", "maps", "maps", "maps"]
    assert Denoiser(make_model(prior="uniform"), prior="maps").denoise(volume).prior.source == "maps"


def test_preview_with_an_overridden_prior(tiny, make_volume):
    volume = make_volume(slices=2)
    p = np.zeros(17, np.float32)
    p[4] = 1
    overridden = tiny.preview(volume, 0, p=p)
    np.testing.assert_array_equal(overridden.prior.p[0], p)
    assert (overridden.volume.hu != tiny.preview(volume, 0).volume.hu).any()


def test_attention_maps_share_the_geometry(tiny, make_volume):
    volume = make_volume(origin=(5.0, 6.0, 7.0), direction=np.diag([1.0, 1.0, -1.0]))
    result = tiny.denoise(volume, attention=AttentionRequest(stages=("last",), descriptors=("liver", "spine")))
    assert set(result.attention) == {("last", "liver"), ("last", "spine"), ("last", UNIFIED)}
    for maps in result.attention.values():
        np.testing.assert_array_equal(maps.ijk_to_lps, volume.ijk_to_lps)
        assert maps.storage == "uint8"
    with pytest.raises(InputError, match="tail"):
        tiny.denoise(volume, attention=AttentionRequest(descriptors=("tail",)))


def test_unified_attention_is_the_prior_weighted_sum(make_model, make_volume):
    model, volume = make_model(), make_volume(slices=1)
    p = np.full((1, 17), 0.02, np.float32)
    p[0, 8] = 1 - 16 * 0.02
    prior = Prior(p, model.descriptors, "test", volume.slice_ids)
    maps = Denoiser(model, prior=prior, device="cpu").denoise(volume, attention=AttentionRequest()).attention
    expected = sum(p[0, n] * maps["middle", name].hu.astype(float) for n, name in enumerate(model.descriptors))
    np.testing.assert_allclose(maps["middle", UNIFIED].hu, expected, atol=1.5)


def test_progress_counts_slices_and_tells_the_time_left(tiny, make_volume):
    calls = []
    tiny.denoise(make_volume(slices=4), progress=lambda *call: calls.append(call))
    assert [(fraction, done, total) for fraction, done, total, _ in calls] == [(k / 4, k, 4) for k in (1, 2, 3, 4)]
    assert calls[0][3] > calls[-1][3] == 0


def test_cancel_stops_between_layers(tiny, make_volume):
    """Cancelled during the second slice, it stops within that slice."""
    asked = []

    def cancelled():
        asked.append(1)
        return len(asked) > 14

    done = []
    with pytest.raises(Cancelled):
        tiny.denoise(make_volume(slices=5), cancelled=cancelled, progress=lambda _, k, *__: done.append(k))
    assert done == [1]
    assert tiny.denoise(make_volume(slices=1)).volume.shape[0] == 1


class Hungry:
    """A network that runs out of memory on tiles of more than `limit` pixels a side."""

    def __init__(self, monkeypatch, limit):
        real = tiling.run

        def run(network, padded, p, box, *, tile=None, record=None, forward=None):
            side = tile or max(box.y1 - box.y0, box.x1 - box.x0)
            if side > limit:
                torch.empty(2**60, dtype=torch.uint8)  # raises the allocator's real error
            return real(network, padded, p, box, tile=tile, record=record, forward=forward)

        monkeypatch.setattr(tiling, "run", run)


def test_out_of_memory_halves_the_tile_and_says_so(tiny, make_volume, monkeypatch):
    volume = make_volume(slices=1, height=200, width=200)
    expected = tiny.denoise(volume).volume.hu
    Hungry(monkeypatch, limit=100)
    result = tiny.denoise(volume)
    assert np.abs(result.volume.hu.astype(int) - expected).max() <= 1
    assert any("memory ran out" in warning for warning in result.warnings)
    assert tiny.denoise(volume).warnings == result.warnings, "the next volume starts afresh and says so again"


def test_out_of_memory_to_the_end_is_an_error_of_one_line(tiny, make_volume, monkeypatch):
    Hungry(monkeypatch, limit=0)
    with pytest.raises(BioAttError, match="memory ran out"):
        tiny.denoise(make_volume(slices=1))


def test_odd_shapes_work(tiny, make_volume):
    for shape in ((1, 20, 20), (2, 9, 60), (1, 3, 3)):
        volume = make_volume(slices=shape[0], height=shape[1], width=shape[2])
        assert tiny.denoise(volume).volume.shape == shape


def test_an_empty_table_is_left_alone(tiny, make_volume):
    volume = make_volume()
    air = volume.with_hu(np.full(volume.shape, -1000))
    result = tiny.denoise(air)
    np.testing.assert_array_equal(result.volume.hu, air.hu)
    assert np.isnan(result.noise_before).all()


def test_scans_unlike_the_training_are_warned_about(tiny, make_volume):
    from bioatt.core.volume import Acquisition

    odd = replace(make_volume(spacing=(2.0, 2.0, 3.0)), acquisition=Acquisition(kernel="B80", slice_thickness_mm=12.0))
    warnings = " ".join(tiny.denoise(odd).warnings)
    assert all(word in warnings for word in ("pixel size 2 mm", "slice thickness 12 mm", "kernel B80"))
    for kernel in ("b30f", "B30s"):  # the last letter is the scan mode
        usual = replace(make_volume(), acquisition=Acquisition(kernel=kernel, slice_thickness_mm=3.0))
        assert tiny.denoise(usual).warnings == ()


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_strength_out_of_range_is_refused(tiny, make_volume, strength):
    with pytest.raises(InputError, match="strength"):
        tiny.denoise(make_volume(slices=1), strength=strength)


def test_slices_out_of_range_are_refused(tiny, make_volume):
    with pytest.raises(InputError, match="slices"):
        tiny.denoise(make_volume(slices=2), slices=range(1, 3))


def test_models_without_ranges_are_used_without_warnings(make_model, make_volume):
    model = make_model(training={})
    assert Denoiser(model, prior="uniform", device="cpu").denoise(make_volume(slices=1)).warnings == ()


def test_noise_is_told_by_slice_of_the_file(tiny, make_volume):
    """Noise is reported in the file's slice order, even if that is head to feet."""
    volume = make_volume(slices=3, noise=10.0, direction=np.diag([1.0, 1.0, -1.0]))
    hu = volume.hu.copy()
    hu[2] = make_volume(slices=1, noise=60.0, seed=5).hu[0]
    result = tiny.denoise(volume.with_hu(hu))
    assert result.noise_before[2] > 3 * result.noise_before[:2].max()
    assert len(result.noise_before) == len(result.noise_after) == 3


@pytest.mark.parametrize(
    ("layout", "sign"),
    [("red_cnn", 1), ("unet", 1), ("unet", -1), ("slab_unet", 1), ("slab_unet", -1)],
)
def test_a_slice_of_a_coronal_stack_is_as_in_its_volume(make_model, make_volume, layout, sign):
    """The network sees axial slices, from which a coronal one is cut with its halo, aligned to the volume's blocks."""
    axial = make_volume(slices=40, height=182 + (sign < 0), width=60, dtype=np.float32)
    noisy = make_volume(slices=12, height=axial.shape[1], width=60, noise=60.0, dtype=np.float32).hu
    axial = axial.with_hu(np.concatenate([axial.hu[:28], noisy]))
    turn = np.array([[1.0, 0, 0], [0, 0, sign], [0, 1, 0]])
    coronal = type(axial)(axial.hu.transpose(1, 0, 2).copy(), spacing=(0.8, 3.0, 0.8), direction=turn)
    model = make_model(layout=layout)
    denoiser = Denoiser(model, prior="uniform", device="cpu", precision="fp32")
    whole = denoiser.denoise(coronal).volume.hu
    if sign > 0:
        assert np.median(np.abs(whole.transpose(1, 0, 2) - denoiser.denoise(axial).volume.hu)) < 0.01
    inner = np.abs(denoiser.preview(coronal, 75).volume.hu[0] - whole[75])
    assert np.median(inner) < 0.01
    p = np.full(17, 1 / 17, np.float32)
    np.testing.assert_allclose(
        denoiser.preview(coronal, 75, p=p).volume.hu, denoiser.preview(coronal, 75).volume.hu, atol=0.01
    )


@pytest.fixture
def masked(make_model):
    """Build a denoiser whose prior is the organ masks of a label volume, in patient space."""

    def make(labels: Volume) -> Denoiser:
        words = load_descriptor_set("paper17")
        prior = SegmentationPrior(
            Segmentation(labels, {1: "liver", 2: "spine"}), words, UniformPrior(words.descriptors)
        )
        return Denoiser(make_model(), prior=prior, device="cpu", precision="fp32")

    return make


@pytest.mark.parametrize("axes", [(1, 0, 2), (2, 0, 1)], ids=["coronal", "sagittal"])
@pytest.mark.parametrize("sign", [1, -1])
def test_organ_masks_stay_in_place_in_a_part_of_a_stack_that_is_not_axial(masked, make_volume, axes, sign):
    """The network sees only the part's pixels, but the masks are placed by the whole stack's geometry."""
    axial = make_volume(slices=4, height=182, width=182, dtype=np.float32)
    direction = np.eye(3)[:, [2 - axis for axis in axes[::-1]]] * [1, 1, sign]
    stack = Volume(axial.hu.transpose(axes).copy(), spacing=(0.8, 3.0, 0.8), direction=direction)
    labels = np.zeros(stack.shape, np.int16)
    labels[60:78], labels[78:100] = 1, 2
    denoiser = masked(replace(stack, hu=labels))
    request = AttentionRequest(stages=("last",), descriptors=("liver",))
    whole = denoiser.denoise(stack, attention=request)
    part = denoiser.denoise(stack, slices=range(72, 80), attention=request)
    np.testing.assert_allclose(part.volume.hu, whole.volume.hu[72:80], atol=1e-3)
    for name in ("liver", UNIFIED):
        maps = whole.attention["last", name].hu[72:80].astype(int)
        np.testing.assert_allclose(part.attention["last", name].hu, maps, atol=1)
    shares = [viewed(result.attention, "contribution", result.prior)["last", "liver"].hu for result in (whole, part)]
    np.testing.assert_allclose(shares[1], shares[0][72:80], atol=0.005)
    np.testing.assert_allclose(denoiser.preview(stack, 77).volume.hu[0], whole.volume.hu[77], atol=1e-3)


def test_slices_beside_the_organ_masks_are_denoised_alone_as_in_their_volume(masked, make_volume):
    volume = make_volume(slices=12)
    labels = np.zeros((2, *volume.shape[1:]), np.int16)
    labels[:, 20:40, 20:40] = 1
    denoiser = masked(Volume(labels, spacing=volume.spacing))
    whole = denoiser.denoise(volume).volume.hu
    np.testing.assert_array_equal(denoiser.preview(volume, 11).volume.hu[0], whole[11])
    elsewhere = masked(Volume(labels, spacing=volume.spacing, origin=(500.0, 0.0, 0.0)))
    with pytest.raises(InputError, match="does not overlap the scan"):
        elsewhere.preview(volume, 11)


def test_two_denoisers_share_a_model_unharmed(make_model, make_volume):
    model, volume = make_model(), make_volume(slices=1)
    first = Denoiser(model, prior="uniform", device="cpu")
    expected = first.denoise(volume).volume.hu
    Denoiser(model, prior="uniform", device="cpu")._network.double()
    np.testing.assert_array_equal(first.denoise(volume).volume.hu, expected)


def test_a_network_that_pools_globally_sees_the_whole_slice(make_model, make_volume):
    model, volume = make_model("channel", filters=16), make_volume(slices=1, dtype=np.float32)
    padded = torch.from_numpy(tiling.pad((np.clip(volume.hu[0], -1024, 3071) + 500) / 500, model.network))
    with torch.inference_mode():
        whole = model.network(padded[None, None])[0, 0, 26:-26, 26:-26].numpy() * 500 - 500
    result = Denoiser(model, device="cpu", precision="fp32").denoise(volume, strength=1).volume.hu[0]
    inside = (body_weight(volume.hu[0].astype(np.float32)) == 1) & (volume.hu[0] > -1024)
    np.testing.assert_allclose(result[inside], whole[inside], atol=0.05)


def test_a_lung_cut_open_by_the_field_of_view_is_denoised():
    hu = np.full((100, 100), 40, np.float32)
    hu[30:80, 40:] = -860
    hu += np.random.default_rng(0).normal(scale=60, size=hu.shape).astype(np.float32)
    assert body_weight(hu)[35:75, 45:].min() == 1


def test_the_body_has_no_holes_and_no_table():
    hu = np.full((120, 120), -1000, np.float32)
    hu[20:90, 15:100] = 40
    hu[40:70, 30:60] = -850
    hu[110:112, 10:60] = 100
    hu += np.random.default_rng(0).normal(scale=60, size=hu.shape).astype(np.float32)
    mask = body_mask(hu)
    assert mask[45:65, 35:55].all()
    assert not mask[:10].any()
    weight = body_weight(hu)
    assert (weight[mask] == 1).all()
    assert np.abs(np.diff(weight, axis=0)).max() < 0.15
