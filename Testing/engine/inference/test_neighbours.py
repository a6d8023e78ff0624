"""A network with neighbouring slices as input: what it sees, and that tiles and slice order do not matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.core.errors import Cancelled
from bioatt.core.volume import Volume
from bioatt.inference import tiling
from bioatt.inference.attention import UNIFIED, AttentionRequest
from bioatt.inference.context import Context
from bioatt.inference.denoiser import Denoiser
from bioatt.inference.planes import Planes
from bioatt.network import build_network
from bioatt.priors import FixedPrior, Prior, UniformPrior
from bioatt.priors.segmentation import Segmentation, SegmentationPrior
from bioatt.priors.spatial import SpatialRows

NAMES = load_descriptor_set("paper17").descriptors
NETWORK = build_network(filters=4, layout="slab_unet")
NEIGHBOURS, NOISE, NEAR = slice(1, 3), 3, slice(4, 6)


def numbered(count, step_mm, sign=1, **more):
    """Build slices whose HU is 10 times their index from the feet, stored feet first or head first."""
    hu = 10.0 * np.arange(count)[::sign, None, None] * np.ones((1, 8, 12), np.float32)
    origin = (0.0, 0.0, 0.0 if sign > 0 else step_mm * (count - 1))
    return Volume(
        hu.astype(np.float32),
        spacing=(1.0, 1.0, step_mm),
        origin=origin,
        direction=np.diag([1.0, 1.0, float(sign)]),
        **more,
    )


def shown(volume, index, noise_hu=20.0):
    """Return the network's input for one slice: its HU, its neighbours' HU (None if absent), and their nearness."""
    seen = Planes(Context.of(volume, range(index, index + 1), 4, 4), NETWORK)(0, noise_hu)
    assert np.ptp(seen, axis=(1, 2)).max() == 0, "constant slices, constant planes"
    values = seen[:, 0, 0]
    hu = [
        round(500 * value - 500) if near else None for value, near in zip(values[NEIGHBOURS], values[NEAR], strict=True)
    ]
    return round(500 * values[0] - 500), hu, [round(float(near), 4) for near in values[NEAR]]


@pytest.mark.parametrize("sign", [1, -1], ids=["from the feet", "from the head"])
def test_the_slice_below_comes_first_then_the_slice_above(sign):
    assert shown(numbered(9, 1.0, sign), 4) == (40, [30, 50], [0.7071, 0.7071])


def test_only_neighbours_within_four_millimetres_are_shown():
    assert shown(numbered(9, 2.0), 4)[1:] == ([30, 50], [0.5, 0.5])
    assert shown(numbered(9, 4.0), 4)[1:] == ([30, 50], [0.25, 0.25])
    assert shown(numbered(9, 5.0), 4)[1:] == ([None] * 2, [0] * 2)


def test_at_the_ends_and_alone_a_slice_has_the_neighbours_there_are():
    volume = numbered(9, 1.0)
    assert shown(volume, 0)[1] == [None, 10]
    assert shown(volume, 8)[1] == [70, None]
    assert shown(numbered(1, 1.0), 0)[1] == [None] * 2


def test_across_a_gap_nothing_is_shown():
    assert shown(numbered(9, 1.0, even=False), 4)[1] == [None] * 2


def test_metal_and_padding_are_shown_as_the_slice_itself_is():
    volume = numbered(3, 1.0)
    hu = volume.hu.copy()
    hu[0], hu[2] = -3024, 20_000
    assert shown(replace(volume, hu=hu), 1)[1] == [-1000, 3071]


@pytest.mark.parametrize(("noise_hu", "plane"), [(25.0, 0.5), (np.nan, 0.0)])
def test_the_noise_level_is_a_plane_zero_where_it_is_unknown(noise_hu, plane):
    seen = Planes(Context.of(numbered(3, 1.0), range(1, 2), 4, 4), NETWORK)(0, noise_hu)
    assert (seen[NOISE] == plane).all()


@pytest.mark.parametrize("axes", [(1, 0, 2), (2, 0, 1)], ids=["coronal", "sagittal"])
def test_a_stack_that_is_not_axial_has_axial_neighbours_too(axes):
    axial = numbered(9, 1.0)
    stack = Volume(
        axial.hu.transpose(axes).copy(), spacing=(1.0, 1.0, 1.0), direction=np.eye(3)[:, [2 - a for a in axes[::-1]]]
    )
    context = Context.of(stack, range(1), 2, 2)
    seen = Planes(context, NETWORK)(4, 20.0)
    assert seen.shape[1:] == tiling.pad(context.hu[4], NETWORK).shape
    assert context.hu.shape[1:] != axial.shape[1:]
    assert [round(500 * one - 500) for one in seen[NEIGHBOURS, 0, 0]] == [30, 50]


@pytest.fixture
def make_slab(make_model):
    """Build a denoiser with a small random slab U-net."""

    def make(prior="uniform", **options) -> Denoiser:
        model = make_model(layout="slab_unet")
        return Denoiser(model, prior=prior, device="cpu", **{"precision": "fp32", **options})

    return make


@pytest.mark.parametrize("step_mm", [0.8, 2.0, 5.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_slice_is_denoised_alike_alone_and_in_its_volume(make_slab, make_volume, step_mm, sign):
    volume = make_volume(slices=12, spacing=(0.8, 0.8, step_mm), direction=np.diag([1.0, 1.0, sign]), dtype=np.float32)
    denoiser = make_slab()
    whole = denoiser.denoise(volume).volume.hu
    assert np.abs(whole - volume.hu).max() > 1
    for index in (0, 1, 6, 11):
        np.testing.assert_array_equal(denoiser.preview(volume, index).volume.hu[0], whole[index])
    np.testing.assert_array_equal(denoiser.denoise(volume, slices=range(3, 7)).volume.hu, whole[3:7])


@pytest.mark.parametrize("sign", [1, -1])
def test_the_order_of_the_file_does_not_matter(make_slab, make_volume, sign):
    volume = make_volume(slices=8, spacing=(0.8, 0.8, 1.0), dtype=np.float32)
    turned = replace(
        volume, hu=volume.hu[::sign].copy(), origin=(0, 0, 0 if sign > 0 else 7.0), direction=np.diag([1, 1, sign])
    )
    denoiser = make_slab()
    np.testing.assert_array_equal(denoiser.denoise(turned).volume.hu[::sign], denoiser.denoise(volume).volume.hu)


def test_the_neighbours_count(make_slab, make_volume):
    """In a series with gaps, each slice is denoised as if it were alone, except for the noise level."""
    volume = make_volume(slices=5, spacing=(0.8, 0.8, 1.0), dtype=np.float32)
    alone = make_volume(slices=5, spacing=(0.8, 0.8, 5.0), dtype=np.float32)
    denoiser = make_slab()
    together, apart = (denoiser.denoise(one).volume.hu for one in (volume, alone))
    assert np.abs(together - apart).max() > 1
    np.testing.assert_array_equal(denoiser.denoise(replace(volume, even=False)).volume.hu, apart)


def test_tiles_do_not_show(make_slab, make_volume):
    volume = make_volume(slices=3, spacing=(0.8, 0.8, 1.0), dtype=np.float32)
    whole, tiled = (make_slab(tile=tile).denoise(volume).volume.hu for tile in (None, 17))
    assert np.abs(whole - tiled).max() <= 0.01


def test_cancel_stops_between_layers(make_slab, make_volume):
    asked, done = [], []

    def cancelled():
        asked.append(1)
        return len(asked) > 24

    with pytest.raises(Cancelled):
        make_slab().denoise(make_volume(slices=5), cancelled=cancelled, progress=lambda _, k, *__: done.append(k))
    assert done == [1]


def test_a_scan_without_tissue_has_no_noise_level_and_is_denoised(make_slab):
    y, x = np.mgrid[-1:1:72j, -1:1:72j]
    hu = np.where(x**2 + y**2 < 0.6, 900.0, -1000.0) + np.random.default_rng(0).normal(0, 30, (2, 72, 72))
    volume = Volume(hu.astype(np.float32), spacing=(0.8, 0.8, 1.0))
    assert np.isnan(Context.of(volume, range(2), 4, 4).noise_levels()).all()
    assert np.isfinite(make_slab().denoise(volume).volume.hu).all()


def spatial(volume, p):
    """Build a prior with the same p (N,) at every pixel; p may sum to less than 1."""
    everywhere = np.broadcast_to(p[:, None, None], (len(p), *volume.shape[1:])).astype(np.float32)
    count = volume.shape[0]
    rows = SpatialRows(
        lambda _: everywhere, tuple(range(count)), tuple(range(17)), 17, volume.shape[1:], complete=False
    )
    return Prior(rows, NAMES, "test", volume.slice_ids)


def test_every_prior_passes_as_it_is(make_slab, make_volume):
    """The network was trained with all of them: none is blended, and a uniform map acts like the slice's p."""
    volume = make_volume(slices=3, spacing=(0.8, 0.8, 1.0), dtype=np.float32)
    labels = np.zeros(volume.shape, np.int16)
    labels[:, 20:40, 20:40] = 1
    masks = Segmentation(replace(volume, hu=labels, slice_ids=()), {1: "liver"})
    one_hot = np.eye(17, dtype=np.float32)[4]
    priors = {
        "uniform": "uniform",
        "one-hot": FixedPrior(one_hot, NAMES),
        "one-hot maps": spatial(volume, one_hot),
        "masks": SegmentationPrior(masks, load_descriptor_set("paper17"), UniformPrior(NAMES)),
        "half": spatial(volume, 0.5 * one_hot),
        "nothing": spatial(volume, 0 * one_hot),
    }
    found = {}
    for name, prior in priors.items():
        result = make_slab(prior).denoise(volume)
        assert not result.prior_blended.any(), name
        assert not any("prior" in line for line in result.warnings), name
        found[name] = result.volume.hu
    np.testing.assert_allclose(found["one-hot"], found["one-hot maps"], atol=1e-3)
    others = [found[name] for name in ("uniform", "one-hot", "masks", "half", "nothing")]
    assert all(np.abs(a - b).max() > 0.1 for k, a in enumerate(others) for b in others[:k])


def test_attention_is_recorded_as_a_and_its_weighted_sum(make_slab, make_volume):
    volume = make_volume(slices=2, spacing=(0.8, 0.8, 1.0))
    p = np.full(17, 0.02, np.float32)
    p[8] = 1 - 16 * 0.02
    maps = make_slab(FixedPrior(p, NAMES)).denoise(volume, attention=AttentionRequest()).attention
    for stage in ("middle", "last"):
        assert maps[stage, "liver"].shape == volume.shape
        assert np.ptp(maps[stage, "liver"].hu) > 0
        expected = sum(p[n] * maps[stage, name].hu.astype(float) for n, name in enumerate(NAMES))
        np.testing.assert_allclose(maps[stage, UNIFIED].hu, expected, atol=1.5)


def test_half_precision_runs(make_slab, make_volume):
    volume = make_volume(slices=2, spacing=(0.8, 0.8, 1.0), dtype=np.float32)
    exact, half = (make_slab(precision=precision).denoise(volume) for precision in ("fp32", "bf16"))
    change = np.abs(exact.volume.hu - volume.hu).max()
    assert np.abs(half.volume.hu - exact.volume.hu).max() < 0.05 * change
    assert half.precision == "bf16"
