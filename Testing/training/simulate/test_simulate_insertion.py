"""Noise insertion has the right magnitude, is additive, local and reproducible, and refuses wrong calls."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bioatt.core.errors import InputError
from bioatt.core.noise import noise_sd
from bioatt.simulation.tomography import Geometry, kernel_named
from bioatt_training.simulate import Scanner, insert_noise
from bioatt_training.simulate.calibration import streak_index
from bioatt_training.simulate.direct import scan_body
from bioatt_training.simulate.insertion import slice_sharing
from bioatt_training.simulate.truncation import complete_body

SCANNER = Scanner(geometry=Geometry(cells=368, views=288, cell_mm=2.5716))
PIXEL = 1.5
SIDE = 160


def disc(radius_x: float, radius_y: float, slices: int = 1) -> np.ndarray:
    """An ellipse of 40 HU in air, (z, y, x); semi-axes in mm."""
    y, x = (np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2) * PIXEL
    body = np.where((x / radius_x) ** 2 + (y / radius_y) ** 2 < 1, 40.0, -1000.0)
    return np.repeat(body[None].astype(np.float32), slices, 0)


def inner(share: float, radius_x: float, radius_y: float) -> np.ndarray:
    y, x = (np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2) * PIXEL
    return (x / radius_x) ** 2 + (y / radius_y) ** 2 < share**2


@pytest.fixture(scope="module")
def scans() -> np.ndarray:
    """A 20 cm cylinder scanned at full, half, quarter and tenth dose: (dose, z, y, x)."""
    return scan_body(
        disc(100, 100, 8),
        PIXEL,
        counts=4e4,
        doses=(1.0, 0.5, 0.25, 0.1),
        kernel=kernel_named("B30"),
        rng=0,
        scanner=SCANNER,
    )


def test_noise_of_whole_scans_falls_as_the_root_of_the_dose(scans):
    sigma = scans[:, :, inner(0.7, 100, 100)].std((1, 2))
    slope = np.polyfit(np.log([1, 0.5, 0.25, 0.1]), np.log(sigma), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.02)


@pytest.mark.parametrize(("index", "dose"), [(1, 0.5), (2, 0.25), (3, 0.1)])
def test_full_dose_with_noise_inserted_is_a_scan_at_low_dose(scans, index, dose):
    result = insert_noise(scans[0], PIXEL, dose_fraction=dose, kernel="B30", rng=1, scanner=SCANNER)
    tissue = inner(0.7, 100, 100)
    assert result.hu_low[:, tissue].std() == pytest.approx(scans[index][:, tissue].std(), rel=0.06)
    # Variances add.
    assert result.hu_low[:, tissue].var() == pytest.approx(
        scans[0][:, tissue].var() + result.noise[:, tissue].var(), rel=0.04
    )
    # I0 is estimated from the scan's noise.
    assert result.counts.mean() == pytest.approx(4e4, rel=0.15)


def test_the_noise_map_of_a_whole_scan_is_reproduced(scans):
    result = insert_noise(scans[0], PIXEL, dose_fraction=0.25, kernel="B30", rng=1, scanner=SCANNER)
    centre, rim = inner(0.3, 100, 100), inner(0.95, 100, 100) & ~inner(0.8, 100, 100)
    direct = (scans[2] - scans[2].mean(0))[:, centre].std() / (scans[2] - scans[2].mean(0))[:, rim].std()
    assert result.noise[:, centre].std() / result.noise[:, rim].std() == pytest.approx(direct, rel=0.06)


@pytest.mark.parametrize("kernel", ["B10", "B40", "D45", "LUNG"])
@pytest.mark.parametrize("dose", [0.1, 0.5])
def test_magnitude_follows_dose_and_the_scans_noise_for_every_kernel(kernel, dose):
    hu = disc(110, 80, 4)
    result = insert_noise(hu, PIXEL, dose_fraction=dose, kernel=kernel, rng=2, noise_hu=12.0, scanner=SCANNER)
    measured = noise_sd(np.where(inner(0.9, 110, 80), 75 + result.noise, -1000))
    assert measured == pytest.approx(12 * np.sqrt(1 / dose - 1), rel=0.1)
    assert abs(result.noise[:, inner(0.9, 110, 80)].mean()) < 0.05 * measured


def test_noise_can_be_given_per_slice():
    result = insert_noise(
        disc(90, 90, 3),
        PIXEL,
        dose_fraction=0.25,
        kernel="B30",
        noise_hu=np.array([5.0, 10, 20]),
        scanner=SCANNER,
    )
    sigma = result.noise[:, inner(0.8, 90, 90)].std(1)
    np.testing.assert_allclose(sigma / sigma[0], [1, 2, 4], rtol=0.1)


def test_shoulders_make_streaks():
    round_, wide = (
        insert_noise(
            disc(*axes, 2), PIXEL, dose_fraction=0.25, kernel="B30", noise_hu=12, scanner=replace(SCANNER, modulation=0)
        ).noise
        for axes in ((90, 90), (115, 45))
    )
    assert streak_index(round_, np.repeat(inner(0.6, 90, 90)[None], 2, 0)) == pytest.approx(1, abs=0.15)
    assert streak_index(wide, np.repeat(inner(0.6, 115, 45)[None], 2, 0)) > 1.2


def test_modulation_of_the_current_evens_the_noise_out():
    flat = replace(SCANNER, bowtie=0, modulation=0)
    steady, modulated = (
        insert_noise(disc(115, 45, 2), PIXEL, dose_fraction=0.25, kernel="B30", noise_hu=12, scanner=one).noise
        for one in (flat, replace(flat, modulation=0.5))
    )
    where = np.repeat(inner(0.6, 115, 45)[None], 2, 0)
    assert streak_index(modulated, where) < 0.93 * streak_index(steady, where)


def test_the_bowtie_raises_the_noise_at_the_rim():
    ratio = []
    for strength in (0.0, 2.0):
        one = replace(SCANNER, bowtie=strength, modulation=0)
        noise = insert_noise(disc(115, 115, 4), PIXEL, dose_fraction=0.25, kernel="B30", noise_hu=12, scanner=one).noise
        ratio.append(
            noise[:, inner(0.97, 115, 115) & ~inner(0.85, 115, 115)].std() / noise[:, inner(0.3, 115, 115)].std()
        )
    assert ratio[1] > 1.1 * ratio[0]


def test_starved_rays_are_bounded():
    views = np.full((1, 4, 368), 25.0, np.float32)
    one = replace(SCANNER, modulation=0)
    variance = one.variance(one.attenuation(views, replace(SCANNER.geometry, views=4)), np.full((1, 1, 1), 1e5), 0.25)
    assert variance.max() == one.saturation


def test_the_same_seed_gives_the_same_noise_however_slices_are_grouped(monkeypatch):
    hu = disc(90, 70, 5)
    settings = {"dose_fraction": 0.25, "kernel": "B30", "noise_hu": 10.0, "scanner": SCANNER}
    first = insert_noise(hu, PIXEL, rng=7, **settings).noise
    assert (insert_noise(hu, PIXEL, rng=8, **settings).noise != first).mean() > 0.9
    monkeypatch.setattr("bioatt_training.simulate.insertion.CHUNK", 2)
    np.testing.assert_allclose(insert_noise(hu, PIXEL, rng=7, **settings).noise, first, atol=0.02)


def test_overlapping_slices_share_noise_and_others_do_not():
    noise = {}
    for thickness in (2.0, 5.0):
        result = insert_noise(
            disc(90, 70, 4),
            PIXEL,
            dose_fraction=0.25,
            kernel="B30",
            noise_hu=10.0,
            slice_thickness_mm=thickness,
            spacing_mm=2.5,
            scanner=SCANNER,
        )
        noise[thickness] = result.noise[:, inner(0.8, 90, 70)]
    apart, overlapping = (np.corrcoef(noise[thickness]) for thickness in (2.0, 5.0))
    assert abs(apart[0, 1]) < 0.1
    assert overlapping[0, 1] == pytest.approx(0.5, abs=0.08)
    assert abs(overlapping[0, 2]) < 0.1
    assert noise[5.0].std() == pytest.approx(noise[2.0].std(), rel=0.05)


@pytest.mark.parametrize(
    ("thickness", "spacing", "planes"), [(None, 1, 1), (1, 3, 1), (3, 1, 3), (2.5, 1, 3), (1, 1, 1)]
)
def test_slice_sharing_keeps_the_variance(thickness, spacing, planes):
    weights = slice_sharing(thickness, spacing)
    assert len(weights) == planes
    assert (weights**2).sum() == pytest.approx(1)


def test_low_dose_is_clipped_where_scanners_clip():
    result = insert_noise(disc(90, 90), PIXEL, dose_fraction=0.01, kernel="LUNG", noise_hu=40.0, scanner=SCANNER)
    assert result.hu_low.min() == -1024
    assert result.noise.min() < -24


def test_a_cut_off_body_is_completed_and_a_cropped_one_is_not():
    cut = disc(115, 115)[:, 40:120, :]
    completed = complete_body(cut, PIXEL, 500.0)
    pad = (completed.shape[1] - cut.shape[1]) // 2
    assert pad > 10
    np.testing.assert_array_equal(completed[:, pad:-pad, pad:-pad], cut)
    middle = completed.shape[2] // 2
    assert completed[0, pad - 2, middle] == 0
    assert completed[0, -pad + 1, middle] == 0
    assert (completed[0, :, 0] == -1000).all()
    cropped = disc(100, 80)[:, 27:133, 13:147]
    assert complete_body(cropped, PIXEL, 500.0) is cropped


def test_a_cut_off_body_gets_the_noise_of_the_whole_one():
    whole = disc(115, 115, 2)
    settings = {"dose_fraction": 0.25, "kernel": "B30", "noise_hu": 12.0, "scanner": replace(SCANNER, modulation=0)}
    part = insert_noise(whole[:, 40:120], PIXEL, **settings).noise
    truth = insert_noise(whole, PIXEL, **settings).noise[:, 40:120]
    for index in (part, truth):
        assert np.isfinite(index).all()
    centre = inner(0.4, 115, 115)[40:120]
    where = np.repeat(centre[None], 2, 0)
    assert streak_index(part, where) == pytest.approx(streak_index(truth, where), abs=0.15)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dose_fraction": 1.0}, "between 0 and 1"),
        ({"dose_fraction": 0.0}, "between 0 and 1"),
        ({"dose_fraction": float("nan")}, "between 0 and 1"),
        ({"kernel": "wavelet"}, "unknown reconstruction kernel"),
        ({"noise_hu": -1.0}, "positive"),
        ({"noise_hu": float("nan")}, "positive"),
        ({"noise_hu": None}, "no soft tissue"),
        ({"hu": np.zeros((4, 4), np.float32)}, r"volume \(z, y, x\)"),
        ({"hu": np.full((1, 8, 8), np.nan)}, "finite"),
        ({"noise_hu": 10.0, "kernel": "auto"}, "too little homogeneous tissue"),
    ],
)
def test_wrong_calls_are_refused(change, message):
    call = {"hu": np.full((1, 16, 16), -1000.0), "dose_fraction": 0.25, "kernel": "B30", "noise_hu": 10.0, **change}
    with pytest.raises(InputError, match=message):
        insert_noise(call.pop("hu"), PIXEL, scanner=SCANNER, **call)


def test_impossible_scanners_are_refused():
    with pytest.raises(InputError, match="must be 0 or more"):
        Scanner(bowtie=-1)


def test_another_device_inserts_the_same_noise():
    """The device "auto" uses PyTorch: on the GPU if there is one, else on the CPU."""
    options = {"dose_fraction": 0.25, "kernel": "B30", "noise_hu": 12.0, "rng": 3, "scanner": SCANNER}
    loops, torched = (insert_noise(disc(80, 60), PIXEL, **options, device=device) for device in ("cpu", "auto"))
    np.testing.assert_allclose(torched.counts, loops.counts, rtol=1e-3)
    assert abs(torched.noise - loops.noise).max() < 1e-2 * loops.noise.std()
