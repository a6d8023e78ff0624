"""Volume and its canonical form: geometry, types, padding and slice identities, for all axis orientations."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bioatt.core.canonical import canonical
from bioatt.core.errors import BioAttError, InputError
from bioatt.core.hu import check_hu
from bioatt.core.volume import Volume

ORIENTATIONS = [
    np.eye(3)[:, list(order)] * signs
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1.0, -1.0), repeat=3)
]
lengths = st.floats(0.1, 10)
places = st.floats(-500, 500)
voxels = hnp.arrays(
    st.sampled_from([np.int16, np.int32, np.float32]),
    st.tuples(*[st.integers(1, 5)] * 3),
    elements=st.integers(-3024, 30_000),
)


def rotation(axis: int, degrees: float) -> np.ndarray:
    a, b = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(3)
    i, j = [n for n in range(3) if n != axis]
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = a, -b, b, a
    return matrix


def test_there_are_48_orientations():
    assert len({matrix.tobytes() for matrix in ORIENTATIONS}) == 48


@pytest.mark.parametrize("direction", ORIENTATIONS)
@given(hu=voxels, spacing=st.tuples(lengths, lengths, lengths), origin=st.tuples(places, places, places))
@settings(max_examples=4, deadline=None)
def test_canonical_keeps_every_voxel_in_its_place_and_is_undone_exactly(direction, hu, spacing, origin):
    volume = Volume(hu, spacing, origin, direction)
    prepared = canonical(volume)
    straight = prepared.volume
    np.testing.assert_array_equal(straight.direction, np.eye(3))
    assert straight.hu.dtype == np.float32

    to_canonical = np.linalg.inv(straight.ijk_to_lps) @ volume.ijk_to_lps
    k, j, i = np.indices(volume.shape).reshape(3, -1)
    x, y, z = np.rint(to_canonical @ [i, j, k, np.ones_like(i)])[:3].astype(int)
    np.testing.assert_array_equal(straight.hu[z, y, x], np.where(hu >= -1500, hu, -1000).ravel())
    np.testing.assert_array_equal(prepared.padding_mask[z, y, x], (hu < -1500).ravel())
    np.testing.assert_allclose(to_canonical, np.rint(to_canonical), atol=1e-6)

    back = volume.with_hu(prepared.undo(straight.hu))
    assert back.hu.dtype == volume.hu.dtype
    np.testing.assert_array_equal(back.hu, volume.hu)
    maps = np.arange(2 * hu.size).reshape(2, *hu.shape)
    np.testing.assert_array_equal(prepared.undo(prepared.apply(maps)), maps)


@pytest.mark.parametrize("direction", ORIENTATIONS)
def test_slice_identity_outlives_the_orientation(direction):
    """A scan stored along other axes has the same axial slices."""
    rng = np.random.default_rng(0)
    head_first = Volume(rng.integers(-1000, 1000, (3, 4, 5), dtype=np.int16))
    stored = Volume(_store(head_first.hu, direction), direction=direction)
    assert canonical(stored).volume.slice_ids == head_first.slice_ids
    if canonical(stored).axial:
        assert set(stored.slice_ids) == set(head_first.slice_ids)


def _store(hu: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Canonical voxels in the memory order that a signed permutation of the axes gives."""
    index_axis_of_world = [int(np.argmax(np.abs(direction[world]))) for world in range(3)]
    for world in range(3):
        if direction[world, index_axis_of_world[world]] < 0:
            hu = np.flip(hu, 2 - world)
    world_of_index_axis = [index_axis_of_world.index(axis) for axis in range(3)]
    return np.ascontiguousarray(hu.transpose([2 - world_of_index_axis[2 - axis] for axis in range(3)]))


@given(st.integers(0, 2), st.floats(-40, 40), st.sampled_from(ORIENTATIONS))
@settings(max_examples=40, deadline=None)
def test_oblique_axes_keep_their_angle(axis, degrees, direction):
    hu = np.arange(24).reshape(2, 3, 4).astype(np.int16)
    volume = Volume(hu, (1, 2, 3), (5, 6, 7), rotation(axis, degrees) @ direction)
    straight = canonical(volume).volume
    np.testing.assert_allclose(straight.direction, rotation(axis, degrees), atol=1e-9)
    to_canonical = np.linalg.inv(straight.ijk_to_lps) @ volume.ijk_to_lps
    np.testing.assert_allclose(to_canonical, np.rint(to_canonical), atol=1e-9)
    assert any("oblique" in warning for warning in volume.warnings) == (abs(degrees) > 20)


def test_reformats_warn():
    hu = np.zeros((2, 3, 4), np.int16)
    coronal, sagittal = np.eye(3)[:, [0, 2, 1]], np.eye(3)[:, [1, 2, 0]]
    assert "coronal" in Volume(hu, direction=coronal).warnings[0]
    assert "sagittal" in Volume(hu, direction=sagittal).warnings[0]
    assert not canonical(Volume(hu, direction=coronal)).axial
    assert Volume(hu).warnings == ()


def test_with_hu_rounds_clips_and_puts_padding_back():
    hu = np.array([[[-3024, -2000, -1024, 40, 3500]]], np.int16)
    volume = Volume(hu)
    result = volume.with_hu(np.array([[[-1000.0, -1000.0, -1030.6, 39.5001, 99_999.0]]]))
    assert result.hu.dtype == np.int16
    assert result.hu.ravel().tolist() == [-3024, -2000, -1031, 40, 32767]
    assert result.slice_ids == volume.slice_ids
    with pytest.raises(InputError, match="shape"):
        volume.with_hu(np.zeros((1, 1, 4)))
    with pytest.raises(BioAttError, match="NaN"):
        volume.with_hu(np.full((1, 1, 5), np.nan))


def test_part_stays_where_it_was():
    hu = np.random.default_rng(0).integers(-1000, 1000, (6, 3, 4), dtype=np.int16)
    volume = Volume(hu, (0.7, 0.8, 2.5), (1, 2, 3), rotation(0, 10))
    part = volume.part(range(2, 5))
    np.testing.assert_array_equal(part.hu, hu[2:5])
    assert part.slice_ids == volume.slice_ids[2:5]
    np.testing.assert_allclose(part.ijk_to_lps @ [1, 2, 0, 1], volume.ijk_to_lps @ [1, 2, 2, 1])
    for bad in (range(3, 3), range(4, 7), range(0, 4, 2)):
        with pytest.raises(InputError, match="not within"):
            volume.part(bad)


def test_ijk_to_ras_flips_x_and_y():
    volume = Volume(np.zeros((1, 2, 3), np.int16), (0.5, 0.6, 0.7), (10, 20, 30))
    np.testing.assert_allclose(volume.ijk_to_ras @ [2, 1, 0, 1], [-11, -20.6, 30, 1])


def test_slice_ids_tell_equal_slices_apart_and_ignore_their_neighbours():
    rng = np.random.default_rng(0)
    a, b = rng.integers(-1000, 1000, (2, 4, 4), dtype=np.int16)
    ids = Volume(np.stack([a, b, a])).slice_ids
    assert len(set(ids)) == 3
    assert ids[2] == f"{ids[0]}#2"
    assert Volume(b[None]).slice_ids == ids[1:2]
    assert Volume(np.stack([a, b]).astype(np.float32)).slice_ids == ids[:2]


@pytest.mark.parametrize(
    ("dtype", "working"),
    [("uint8", "int16"), ("int16", "int16"), ("uint16", "int32"), ("int64", "int32"), ("float64", "float32")],
)
def test_storage_type_is_remembered(dtype, working):
    volume = Volume(np.ones((1, 2, 2), dtype))
    assert (volume.hu.dtype, volume.storage) == (np.dtype(working), dtype)


@pytest.mark.parametrize(
    "options",
    [
        {"hu": np.zeros((2, 2))},
        {"hu": np.zeros((0, 2, 2))},
        {"hu": np.zeros((1, 2, 2), complex)},
        {"hu": np.zeros((1, 2, 2)), "spacing": (1, 0, 1)},
        {"hu": np.zeros((1, 2, 2)), "spacing": (1, np.nan, 1)},
        {"hu": np.zeros((1, 2, 2)), "direction": np.diag([1, 1, 0])},
        {"hu": np.zeros((1, 2, 2)), "direction": np.diag([1, 1, 2])},
        {"hu": np.zeros((1, 2, 2)), "slice_ids": ("a", "b")},
    ],
)
def test_impossible_volumes_are_refused(options):
    with pytest.raises(InputError):
        Volume(**options)


def noise(low, high, dtype=np.float32):
    values = np.random.default_rng(0).uniform(low, high, (3, 16, 16))
    values.flat[:2] = low, high
    return values.astype(dtype)


@pytest.mark.parametrize(
    ("hu", "match"),
    [
        (noise(0, 1), "normalised"),
        (noise(-1, 1), "normalised"),
        (noise(-3, 8), "normalised"),
        (noise(0, 1, np.int16), "mask"),
        (noise(0, 255, np.int16), "8-bit"),
        (noise(0, 2400, np.int16), "without their rescale"),
        (noise(-1e6, 1e6), "not HU"),
        (np.where(noise(0, 1) > 0.99, np.nan, -1000), "NaN or infinite"),
        (np.where(noise(0, 1) > 0.99, np.inf, -1000), "NaN or infinite"),
    ],
)
def test_values_that_are_no_hu_are_refused(hu, match):
    with pytest.raises(InputError, match=match):
        check_hu(hu)


def test_odd_but_possible_values_pass():
    assert check_hu(noise(-1024, 3071)) == ()
    assert check_hu(noise(-3024, 30_000)) == ()
    assert "no air" in check_hu(noise(-50, 120))[0]
    assert "empty" in check_hu(np.full((1, 2, 2), -1000, np.int16))[0]


def test_needs_neither_torch_nor_itk():
    code = """
import sys, bioatt.core.volume
assert not {"torch", "SimpleITK", "pydicom"} & set(sys.modules)
from bioatt import Volume, read_volume, write_volume
import bioatt.io.dicom.write
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_noise_below_the_limit_is_no_padding():
    """Very noisy, unclipped lung with a filler outside the round field of view."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : 192 * 1j, -1 : 1 : 192 * 1j]
    outside = np.broadcast_to(x**2 + y**2 > 1, (2, 192, 192))
    for dtype in (np.int16, np.float32):
        noisy = rng.normal(-900, 400, outside.shape).astype(dtype)
        hu = np.where(outside, -2048, noisy).astype(dtype)
        low = (noisy < -1500) & ~outside
        inner = np.broadcast_to(x**2 + y**2 < 0.9, outside.shape)
        assert (low & inner).sum() > 500
        volume = Volume(hu)
        assert volume.padding_mask[outside].all()
        mistaken = (volume.padding_mask & inner).sum()
        assert mistaken < 10, "noise that happens to have the filler's very value"
        seen, denoised = canonical(volume).volume.hu, volume.with_hu(np.full(hu.shape, -900)).hu
        assert (seen[low & inner] >= -1500).sum() == mistaken, "the network sees the noise"
        assert (denoised[low & inner] != -900).sum() == mistaken, "and may remove it"
        assert not Volume(noisy).padding_mask.any()


def test_a_blended_rim_belongs_to_its_filler_and_a_part_is_padded_as_the_whole():
    hu = np.full((3, 64, 64), -1000, np.float32)
    hu[:, :, :10] = -3024
    hu[:, :, 10] = -1600 - np.arange(64)
    hu[1, 30, 40] = -1700
    volume = Volume(hu)
    assert volume.padding_mask[:, :, :11].all()
    assert not volume.padding_mask[:, :, 11:].any()
    np.testing.assert_array_equal(volume.part(range(1, 2)).padding_mask, volume.padding_mask[1:2])
