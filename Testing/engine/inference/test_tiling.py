"""Tiles, boxes and halos leave no trace: the result equals that of the whole slice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bioatt.inference import tiling
from bioatt.inference.tiling import Box
from bioatt.network import LAYOUTS, build_network
from bioatt.network.red_cnn import HALO

torch.manual_seed(3)
NETWORKS = {name: build_network("bioatt", filters=4, descriptors=3, layout=name).eval() for name in LAYOUTS}
for name in NETWORKS.keys() - {"red_cnn"}:  # freshly built, these are the identity
    for parameter in NETWORKS[name].parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
NETWORK = NETWORKS["red_cnn"]
P = torch.tensor([0.5, 0.3, 0.2])
HU = 500.0


def planes(network, height, width, dtype=np.float32):
    """Build a network's input: random images and, if it uses neighbours, constant planes from 0 to 1."""
    rng = np.random.default_rng(height * width)
    images = rng.normal(size=(1 + network.neighbours, height, width))
    numbers = rng.random((1 + network.neighbours if network.neighbours else 0, 1, 1))
    return np.concatenate([images, np.broadcast_to(numbers, (len(numbers), height, width))]).astype(dtype)


def whole(network, seen, p):
    """Return network(padded slice), cropped: the result that every tiling must equal."""
    padded = torch.from_numpy(tiling.pad(seen, network))
    inner = tuple(slice(network.border, network.border + length) for length in seen.shape[1:])
    with torch.inference_mode():
        return network(padded[None], p[None])[0, 0][inner]


def tiled(network, seen, p, box, size, record=None):
    with torch.inference_mode():
        return tiling.run(network, torch.from_numpy(tiling.pad(seen, network)), p, box, tile=size, record=record)


@pytest.mark.parametrize(("dtype", "tolerance_hu"), [(np.float64, 1e-6), (np.float32, 0.01)])
@settings(max_examples=12, deadline=None)
@given(
    height=st.integers(3, 200),
    width=st.integers(3, 200),
    size=st.integers(16, 70),
    layout=st.sampled_from([*NETWORKS]),
    edges=st.tuples(st.floats(0, 0.9), st.floats(0, 0.9)),
)
def test_any_box_in_any_tiles_equals_the_whole_slice(dtype, tolerance_hu, height, width, size, layout, edges):
    network = NETWORKS[layout].to(torch.from_numpy(np.zeros(0, dtype)).dtype)
    seen = planes(network, height, width, dtype)
    box = Box(int(edges[0] * height), height, int(edges[1] * width), width)
    p = P.to(next(network.parameters()).dtype)
    expected = whole(network, seen, p)[box.slices]
    torch.testing.assert_close(tiled(network, seen, p, box, size), expected, rtol=0, atol=tolerance_hu / HU)
    network.float()


@pytest.mark.parametrize("layout", [*NETWORKS])
def test_a_spatial_prior_is_tiled_with_its_slice(layout):
    network = NETWORKS[layout]
    seen = planes(network, 70, 80)
    p = np.random.default_rng(1).dirichlet(np.ones(3), size=(70, 80)).transpose(2, 0, 1).astype(np.float32)
    padded_p = torch.from_numpy(tiling.pad(p, network))
    box = Box(5, 66, 3, 77)
    expected = whole(network, seen, padded_p)[box.slices]
    torch.testing.assert_close(tiled(network, seen, padded_p, box, 32), expected, rtol=0, atol=2e-5)


def test_weights_of_other_pixels_are_refused():
    seen = np.zeros((1, 70, 80), np.float32)
    p = torch.from_numpy(tiling.pad(np.full((3, 90, 80), 1 / 3, np.float32), NETWORK))
    with pytest.raises(ValueError, match="pixels"):
        tiled(NETWORK, seen, p, Box(0, 70, 0, 80), None)


@pytest.mark.parametrize("layout", [*NETWORKS])
def test_recorded_maps_do_not_depend_on_tiles(layout):
    network = NETWORKS[layout]
    seen = planes(network, 70, 80)
    box = Box(2, 64, 7, 71)
    once: dict = {}
    pieces: dict = {}
    tiled(network, seen, P, box, None, once)
    tiled(network, seen, P, box, 20, pieces)
    for stage in ("middle", "last"):
        assert once[stage].shape == (3, 62, 64)
        torch.testing.assert_close(once[stage], pieces[stage], rtol=0, atol=1e-5)


def test_networks_that_pool_globally_are_never_tiled():
    network = build_network("channel", filters=16).eval()
    seen, box = planes(network, 50, 50), Box(0, 50, 0, 50)
    assert torch.equal(tiled(network, seen, None, box, 16), tiled(network, seen, None, box, None))


@given(st.integers(1, 80), st.integers(1, 80), st.integers(1, 90))
def test_tiles_cover_a_box_once(height, width, size):
    covered = np.zeros((100, 100), int)
    box = Box(4, 4 + height, 9, 9 + width)
    for tile in box.tiles(size):
        covered[tile.slices] += 1
    assert (covered[box.slices] == 1).all()
    assert covered.sum() == height * width


def test_bounding_box_is_tight():
    weight = np.zeros((20, 30), np.float32)
    assert tiling.bounding_box(weight) is None
    weight[4, 7] = weight[9, 21] = 0.1
    assert tiling.bounding_box(weight) == Box(4, 10, 7, 22)


def test_slices_narrower_than_the_halo_are_padded():
    assert tiling.pad(np.ones((1, 3), np.float32), NETWORK).shape == (1 + 2 * HALO, 3 + 2 * HALO)
