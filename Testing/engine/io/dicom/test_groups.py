"""Which slices form one volume: phases are separated, rounded orientations are not, uneven spacing is reported."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from Testing.engine.io.conftest import ct_like

from bioatt.core.errors import InputError
from bioatt.io.images import read_volume
from bioatt.io.outputs import write_result


def interleaved(series, **elements):
    """Two phases that alternate slice by slice in one series."""
    return series(
        ct_like(8),
        AcquisitionNumber=lambda k: k % 2 + 1,
        AcquisitionTime=lambda k: f"12{k % 2:02d}00",
        **elements,
    )


def test_alternating_phases_are_no_volume_but_a_choice(series):
    hu = interleaved(series)
    with pytest.raises(InputError, match=r"1: .*acquisition 1 .*2: .*acquisition 2 .*--phase NUMBER"):
        read_volume(series.folder)
    np.testing.assert_array_equal(read_volume(series.folder, phase=2).hu, hu[1::2])
    np.testing.assert_array_equal(read_volume(series.folder, phase="acquisition 1").hu, hu[::2])
    for wrong in (3, 0, "venous", "acquisition"):
        with pytest.raises(InputError, match="phase"):
            read_volume(series.folder, phase=wrong)


def test_phases_at_the_same_places_are_told_apart(series):
    hu = series(
        ct_like(8), AcquisitionNumber=lambda k: k // 4 + 1, ImagePositionPatient=lambda k: [0, 0, 2.5 * (k % 4)]
    )
    np.testing.assert_array_equal(read_volume(series.folder, phase=2).hu, hu[4:])


@pytest.mark.parametrize("size", [1, 2, 4, 5])
def test_acquisitions_that_follow_one_another_along_z_stay_one_volume(series, size):
    """GE axial scans have consecutive acquisition numbers; helical ones have a new time every slice or two."""
    hu = series(
        ct_like(10),
        AcquisitionNumber=lambda k: k // size + 1,
        AcquisitionTime=lambda k: f"1200{k // size:02d}",
        ContrastBolusAgent=lambda k: "" if k < 5 else "agent",
    )
    volume = read_volume(series.folder)
    np.testing.assert_array_equal(volume.hu, hu)
    assert volume.warnings == ()


def turned(degrees):
    angle = np.radians(degrees)
    return [np.cos(angle), np.sin(angle), 0, -np.sin(angle), np.cos(angle), 0]


@pytest.mark.parametrize("period", [2, 3])
@pytest.mark.parametrize("degrees", [0.03, 0.1146])
def test_rounded_orientations_are_one(series, period, degrees):
    series(ct_like(6), ImageOrientationPatient=lambda k: turned(degrees * (k % period == 0)))
    volume = read_volume(series.folder)
    assert volume.shape[0] == 6
    assert any("differ by up to 0.11 degrees" in line for line in volume.warnings) is (degrees > 0.1)


def test_orientations_that_differ_are_told_by_their_angle_and_can_be_chosen(series):
    hu = series(ct_like(6), ImageOrientationPatient=lambda k: turned(0.5 * (k % 2)))
    with pytest.raises(InputError, match=r"rotated by 0\.5 degrees.*--phase"):
        read_volume(series.folder)
    np.testing.assert_array_equal(read_volume(series.folder, phase=2).hu, hu[1::2])


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ([0, 4, 8, 12, 19.4, 26.8, 34.2], "slices are unevenly spaced"),
        ([0, 5, 10, 20, 25, 40], "slices missing: 3"),
    ],
)
def test_only_whole_multiples_are_missing_slices(series, places, said):
    series(ct_like(len(places)), ImagePositionPatient=lambda k: [0, 0, places[k]])
    assert any(line.startswith(said) for line in read_volume(series.folder).warnings)


@pytest.mark.parametrize(("by", "said"), [(0.4, True), (0.04, False)])
def test_positions_that_wander_are_told(series, by, said):
    series(ct_like(8), ImagePositionPatient=lambda k: [by * (k % 2), 0, 5.0 * k])
    lines = read_volume(series.folder).warnings
    assert any("slice positions deviate" in line for line in lines) is said


def test_the_result_is_rounded_to_the_steps_that_the_series_stores(series, tmp_path):
    """What is measured and reported is what is written: here 8 bits in steps of 32 HU, as from web viewers."""
    series(slope=32.0, intercept=-4096, signed=False, bits=8)
    volume = read_volume(series.folder)
    denoised = volume.with_hu(volume.hu * 0.9)
    np.testing.assert_array_equal(denoised.hu % 32, 0)
    write_result(denoised, tmp_path / "out", model_name="m", model_version="1", strength=1)
    np.testing.assert_array_equal(read_volume(tmp_path / "out").hu, denoised.hu)
    assert pydicom.dcmread(tmp_path / "out" / "0001.dcm").RescaleSlope == 32
