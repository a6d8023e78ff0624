"""Slices of a tilted gantry resampled to right angles: every position keeps its HU value."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from bioatt.core.canonical import upright
from bioatt.core.volume import Volume


def tilted(degrees, axis=1):
    angle = np.radians(degrees)
    direction = np.eye(3)
    direction[:, axis] = np.eye(3)[axis] * np.cos(angle) + np.array([0, 0, np.sin(angle)])
    z, y, x = np.mgrid[:10, :60, :50]
    ball = (x - 25) ** 2 + (y - 30) ** 2 + (4 * (z - 5)) ** 2
    hu = np.where(ball < 200, 40, -1000).astype(np.int16)
    return Volume(hu, (0.8, 0.8, 5), (3, -7, 11), direction)


@pytest.mark.parametrize("degrees", [15, -12])
@pytest.mark.parametrize("axis", [0, 1])
def test_every_place_keeps_its_value(degrees, axis):
    volume = tilted(degrees, axis)
    result = upright(volume)
    assert result.right_angled
    assert result.hu.dtype == volume.hu.dtype
    k, j, i = np.mgrid[: result.shape[0], : result.shape[1], : result.shape[2]].reshape(3, -1)
    places = result.ijk_to_lps @ [i, j, k, np.ones_like(i)]
    source = np.linalg.inv(volume.ijk_to_lps) @ places
    expected = map_coordinates(volume.hu.astype(float), source[2::-1], order=1, cval=-1000)
    np.testing.assert_allclose(result.hu.ravel(), expected, atol=1)
    assert (result.hu > 0).sum() > 0.9 * (volume.hu > 0).sum()


def test_right_angles_stay_as_they_are():
    volume = Volume(np.zeros((2, 4, 4), np.int16))
    assert upright(volume) is volume
