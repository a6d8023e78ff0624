"""The structure check on synthetic cases: noise of a soft kernel, with and without erased lesions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bioatt.core.errors import InputError
from bioatt.core.structure import StructureSearch, removed_structure
from bioatt.simulation.phantom import LABELS, torso
from bioatt.simulation.tomography.kernels import FAMILY

SLICES, SIZE, PIXEL_MM, NOISE_HU = 8, 128, 0.8, 25.0


@pytest.fixture(scope="module")
def liver_slab():
    volume, labels = torso(3, SLICES, SIZE, z_range=(-50, -20), pixel_mm=PIXEL_MM, thickness_mm=3.0)
    return volume, labels == LABELS["liver"]


def noise(rng, volume, sd=NOISE_HU):
    """Noise of filtered backprojection with kernel B30: power spectrum f · response²; `sd` in HU."""
    _, rows, columns = volume.shape
    frequency = np.hypot(np.fft.fftfreq(rows, PIXEL_MM)[:, None], np.fft.rfftfreq(columns, PIXEL_MM)[None])
    amplitude = np.sqrt(frequency) * FAMILY["B30"].response(frequency)
    made = np.fft.irfft2(np.fft.rfft2(rng.normal(size=volume.shape)) * amplitude, (rows, columns))
    return (made / made.std() * sd).astype(np.float32)


def remaining(made):
    """The noise that a denoiser typically leaves: its coarse part, attenuated."""
    return 0.3 * gaussian_filter(made, (0, 1, 1))


def lesion(rng, volume, where, radius=None, contrast=None):
    """A soft-edged sphere at a random position in `where`, by default of 3 to 6 mm radius and ±20 to ±40 HU."""
    places = np.argwhere(where[:, 16:-16, 16:-16]) + np.array([0, 16, 16])
    centre = places[rng.integers(len(places))]
    spacing = np.array(volume.spacing)[::-1]
    distance = np.sqrt(
        sum(((g - c) * s) ** 2 for g, c, s in zip(np.indices(volume.shape), centre, spacing, strict=True))
    )
    depth = np.clip((distance - (radius or rng.uniform(3, 6))) / 0.5, -50, 50)
    contrast = contrast or rng.choice([-1, 1]) * rng.uniform(20, 40)
    return (contrast / (1 + np.exp(depth))).astype(np.float32), centre


@pytest.mark.slow
def test_an_erased_lesion_raises_the_alarm_and_noise_does_not(liver_slab):
    volume, liver = liver_slab
    quiet, loud, found = [], [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        made = noise(rng, volume)
        after = volume.hu + remaining(made)
        blob, centre = lesion(rng, volume, liver)
        quiet.append(removed_structure(volume.hu + made, after, volume.spacing))
        loud.append(removed_structure(volume.hu + made + blob, after, volume.spacing))
        peak = np.unravel_index(np.argmax(loud[-1].significance), volume.shape)
        found.append(np.hypot(*(np.array(peak[1:]) - centre[1:])) < 8)
    negative, positive = (np.array([m.significance.max() for m in maps]) for maps in (quiet, loud))
    auc = (positive[:, None] > negative[None]).mean()
    rates = [float(np.mean([m.alarm for m in maps])) for maps in (loud, quiet)]
    print(f"AUC {auc:.3f}, alarms {rates[0]:.2f}, false alarms {rates[1]:.2f}")
    assert auc >= 0.9
    assert rates[1] <= 0.05
    assert rates[0] >= 0.7
    assert np.mean(found) >= 0.8  # the maximum lies at the lesion


def test_worn_edges_raise_the_alarm_where_they_are(liver_slab):
    volume, _ = liver_slab
    made = noise(np.random.default_rng(1), volume)
    found = removed_structure(
        volume.hu + made, gaussian_filter(volume.hu, (0, 1.5, 1.5)) + remaining(made), volume.spacing
    )
    assert found.alarm
    gradient = np.hypot(*np.gradient(volume.hu, axis=(1, 2)))
    assert gradient[found.marks].mean() > 2.5 * gradient[~found.marks].mean()


def test_a_little_wear_of_edges_in_a_quiet_scan_is_none_yet_an_erased_lesion_is(liver_slab):
    """With 5 HU of noise even 0.4 mm of blur is significant, but no region of lesion size loses 3 HU."""
    volume, liver = liver_slab
    rng = np.random.default_rng(4)
    made = noise(rng, volume, 5.0)
    worn = gaussian_filter(volume.hu, (0, 0.5, 0.5)) + remaining(made)
    quiet = removed_structure(volume.hu + made, worn, volume.spacing)
    assert not quiet.alarm
    eager = removed_structure(volume.hu + made, worn, volume.spacing, least_hu=0.0)
    assert eager.marks.sum() > 50, "this is what the least HU is for"
    blob, centre = lesion(rng, volume, liver)
    loud = removed_structure(volume.hu + made + blob, worn, volume.spacing)
    assert loud.alarm
    assert np.hypot(*(np.argwhere(loud.marks)[:, 1:] - centre[1:]).T).max() < 16


def test_a_small_faint_lesion_that_was_erased_is_marked(liver_slab):
    """2.5 mm radius, -20 HU: less than 3 HU pass the wider blob filter, but the narrower one detects it."""
    volume, liver = liver_slab
    rng = np.random.default_rng(6)
    made = noise(rng, volume, 5.0)
    worn = gaussian_filter(volume.hu, (0, 0.5, 0.5)) + remaining(made)
    blob, centre = lesion(rng, volume, liver, radius=2.5, contrast=-20.0)
    found = removed_structure(volume.hu + made + blob, worn, volume.spacing)
    assert found.alarm
    assert not removed_structure(volume.hu + made, worn, volume.spacing).alarm
    assert np.hypot(*(np.argwhere(found.marks)[:, 1:] - centre[1:]).T).max() < 10


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_half_hearted_noise_removal_is_no_structure(liver_slab, strength):
    """At low strength, the remaining noise resembles the removed noise."""
    volume, _ = liver_slab
    made = noise(np.random.default_rng(2), volume)
    before = volume.hu + made
    assert not removed_structure(before, before - strength * (made - remaining(made)), volume.spacing).alarm


def test_noise_removed_unevenly_is_no_structure_yet_an_erased_lesion_is(liver_slab):
    """In a low-noise scan, a denoiser leaves most of the noise but removes blobs of it."""
    volume, liver = liver_slab
    rng = np.random.default_rng(5)
    made = noise(rng, volume, 5.0)
    taken = gaussian_filter(rng.normal(size=made.shape), (0, 8, 8))
    removed = made * np.clip(0.3 + 0.2 * taken / taken.std(), 0.1, 0.8)
    before = volume.hu + made
    assert not removed_structure(before, before - removed, volume.spacing).alarm
    blob, centre = lesion(rng, volume, liver)
    found = removed_structure(before + blob, before - removed, volume.spacing)
    assert found.alarm
    assert np.hypot(*(np.argwhere(found.marks)[:, 1:] - centre[1:]).T).max() < 16


def test_nothing_removed(liver_slab):
    volume, _ = liver_slab
    found = removed_structure(volume.hu, volume.hu, volume.spacing)
    assert not found.alarm
    assert not found.significance.any()


def test_air_alone_and_one_slice():
    rng = np.random.default_rng(0)
    air = rng.normal(-1000, 20, (2, 48, 48)).astype(np.float32)
    assert not removed_structure(air, air * 0 - 1000, (0.8, 0.8, 3)).alarm
    one = rng.normal(40, 20, (1, 64, 64)).astype(np.int16)
    assert not removed_structure(one, np.full_like(one, 40), (0.8, 0.8, 3)).alarm


def test_the_search_goes_slice_by_slice_with_the_same_result(liver_slab):
    volume, _ = liver_slab
    made = noise(np.random.default_rng(3), volume)
    search = StructureSearch(volume.hu + made, volume.hu, volume.spacing)
    fractions = list(search.run())
    assert fractions[-1] == 1
    assert len(set(fractions)) == SLICES + 1
    assert len(fractions) > 3 * SLICES
    whole = removed_structure(volume.hu + made, volume.hu, volume.spacing)
    np.testing.assert_array_equal(search.result().significance, whole.significance)


def test_different_shapes_are_refused():
    with pytest.raises(InputError, match="one shape"):
        removed_structure(np.zeros((2, 9, 9)), np.zeros((2, 9, 8)), (1, 1, 1))
