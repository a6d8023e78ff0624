"""Values that cannot be HU are rejected whatever fills the corners, with advice that fits the values."""

from __future__ import annotations

import numpy as np
import pytest

from bioatt.core.errors import InputError
from bioatt.core.hu import check_hu
from bioatt.core.volume import Volume


def slices(air=-1000.0, tissue=40.0, noise=20.0, share=0.35, scale=1.0, filler=None):
    """(3, 96, 96): a disc of tissue in air, scaled linearly, with a filler outside the round field of view."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : 96 * 1j, -1 : 1 : 96 * 1j]
    hu = np.where(x**2 + y**2 < share, tissue, air) + rng.normal(0, noise, (3, 96, 96))
    hu = np.clip(hu, -1024, None) * scale
    if filler is not None:
        hu[:, x**2 + y**2 > 1] = filler
    return np.rint(hu)


@pytest.mark.parametrize("filler", [None, -2000, 62512])
@pytest.mark.parametrize("share", [0.35, 0.05])
def test_stored_numbers_are_refused_with_their_intercept_whatever_the_filler(filler, share):
    stored = slices(share=share) + 1024
    if filler is not None:
        stored = np.where(slices(filler=filler) == filler, filler, stored)
    with pytest.raises(InputError, match="add the intercept"):
        check_hu(stored.astype(np.int32))


def test_grey_values_get_no_advice_that_would_make_wrong_hu():
    """Cone-beam CT: air is about 150 and tissue about 1030; an intercept of -1024 would be 126 HU off."""
    with pytest.raises(InputError, match=r"own scale \(air about 1[45]5\).*calibrate"):
        check_hu((150 + (slices() + 1000) * 0.85).astype(np.int16))


def test_a_volume_without_a_voxel_in_the_range_of_hu_is_refused():
    """Micro-CT: the network would receive a constant image and return the input."""
    with pytest.raises(InputError, match="nothing lies in the HU range"):
        check_hu(((slices() + 1000) * 14 + 5000).clip(0, 65535).astype(np.int32))


@pytest.mark.parametrize("kind", ["<i2", "<u2"])
def test_bytes_in_the_wrong_order_are_refused(kind):
    stored = (slices(noise=8) + (1100 if kind == "<u2" else 0)).astype(kind)
    with pytest.raises(InputError, match="byte order"):
        check_hu(Volume(stored.byteswap()).hu)
    if kind == "<i2":
        assert check_hu(stored) == ()


@pytest.mark.parametrize("filler", [-2000, -32768, 32767, 62512])
def test_one_impossible_value_over_much_of_a_slice_is_filler_at_either_end(filler):
    volume = Volume(slices(filler=filler).astype(np.int32))
    np.testing.assert_array_equal(volume.padding_mask, volume.hu == filler)
    assert (volume.with_hu(np.zeros(volume.shape)).hu == filler).sum() == (volume.hu == filler).sum()
    assert check_hu(volume.hu) == ()


def test_clipped_metal_is_no_filler():
    hu = slices().astype(np.int32)
    hu[:, 40:60, 40:60] = 31743
    assert not Volume(hu).padding_mask.any()


@pytest.mark.parametrize(
    "geometry",
    [
        {"spacing": (1e308, 1, 1)},
        {"spacing": (1e-9, 1, 1)},
        {"spacing": (5000, 1, 1)},
        {"origin": (0, np.inf, 0)},
        {"origin": (0, np.nan, 0)},
        {"origin": (1e9, 0, 0)},
        {"direction": np.diag([1, 1e308, 1])},
        {"direction": np.diag([1, np.nan, 1])},
    ],
)
def test_absurd_geometry_is_refused(geometry):
    with pytest.raises(InputError, match="header"):
        Volume(np.zeros((2, 4, 4), np.int16), **geometry)
