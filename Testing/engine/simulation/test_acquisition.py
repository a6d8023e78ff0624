"""The simulated scan: exposure control, quantum noise, no bias, reproducibility."""

from __future__ import annotations

import numpy as np
import pytest

from bioatt.core.errors import Cancelled, InputError
from bioatt.core.volume import Volume
from bioatt.simulation.acquisition import Scanner, scan
from bioatt.simulation.tomography import Geometry

GEOMETRY = Geometry(cells=184, views=144, cell_mm=1.2858 * 4)
PIXEL = 2.8


@pytest.fixture(scope="module")
def cylinder():
    y, x = np.mgrid[-63.5:64, -63.5:64] * PIXEL
    hu = np.where(np.hypot(x, y) < 130, 40.0, -1000.0).astype(np.float32)
    return Volume(np.repeat(hu[None], 4, 0), spacing=(PIXEL, PIXEL, 5.0))


def centre(volume, reference=None, half=6):
    part = (slice(None), slice(64 - half, 64 + half), slice(64 - half, 64 + half))
    hu = volume.hu[part].astype(float)
    return hu if reference is None else hu - reference.hu[part]


def test_noise_at_the_isocentre_is_the_noise_index_at_full_dose(cylinder):
    reference, (full,) = scan(cylinder, (1.0,), scanner=Scanner(GEOMETRY, noise_index=20.0), seed=3)
    # 4 slices of 12 x 12 correlated pixels
    assert centre(full, reference).std() == pytest.approx(20, rel=0.15)


def test_noise_follows_the_dose(cylinder):
    scanner = Scanner(GEOMETRY, noise_index=10.0, electronic_sd=0.0)
    reference, scans = scan(cylinder, (1.0, 0.25), scanner=scanner, seed=1)
    full, quarter = (centre(s, reference, 24).std() for s in scans)
    assert quarter / full == pytest.approx(2, rel=0.1)


def test_reference_has_the_body_s_hu_and_noise_no_bias(cylinder):
    reference, (low,) = scan(cylinder, (0.25,), scanner=Scanner(GEOMETRY, noise_index=10.0), seed=2)
    assert centre(reference).mean() == pytest.approx(40, abs=2)
    assert abs(centre(low, reference, 24).mean()) < 2
    assert reference.hu.dtype == low.hu.dtype == np.int16
    assert reference.spacing == cylinder.spacing
    assert reference.acquisition.kernel == "B30"


def test_the_bow_tie_lets_through_less_at_the_edge_of_the_fan():
    profile = Scanner(GEOMETRY, bowtie=2.0).profile()
    assert profile.max() == pytest.approx(1, abs=1e-3)
    assert profile[[0, -1]].min() == pytest.approx(np.exp(-2), rel=1e-3)
    assert (np.diff(profile[: len(profile) // 2 - 2]) > 0).all()


def test_same_seed_same_noise_whatever_the_slices(cylinder):
    scanner = Scanner(GEOMETRY)
    _, (all_slices,) = scan(cylinder, (0.25,), scanner=scanner, seed=7)
    _, (again,) = scan(cylinder, (0.25,), scanner=scanner, seed=7)
    _, (other,) = scan(cylinder, (0.25,), scanner=scanner, seed=8)
    assert np.array_equal(all_slices.hu, again.hu)
    assert not np.array_equal(all_slices.hu, other.hu)
    assert not np.array_equal(all_slices.hu[0], all_slices.hu[1])


def test_sharper_kernels_are_noisier_at_the_same_exposure(cylinder):
    counts = {"counts": (1e5, 1e5)}  # exposure control switched off
    noise = []
    for kernel in ("B10", "B30"):
        reference, (low,) = scan(cylinder, (0.25,), scanner=Scanner(GEOMETRY, kernel=kernel, **counts), seed=5)
        noise.append(centre(low, reference, 24).std())
    assert noise[1] > 1.1 * noise[0]


def test_bad_doses_and_bodies_are_refused(cylinder):
    for dose in (0, -1, float("nan")):
        with pytest.raises(InputError, match="dose fractions must be above 0"):
            scan(cylinder, (dose,), scanner=Scanner(GEOMETRY))
    with pytest.raises(InputError, match="field"):
        scan(Volume(cylinder.hu, spacing=(9.0, 9.0, 5.0)), scanner=Scanner(GEOMETRY))


def test_cancelling(cylinder):
    with pytest.raises(Cancelled):
        scan(cylinder, scanner=Scanner(GEOMETRY), cancelled=lambda: True)
