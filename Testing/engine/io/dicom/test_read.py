"""Choosing and reading a CT series: order, geometry, and whatever else its folder may hold."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.data import get_testdata_file
from pydicom.uid import (
    EnhancedCTImageStorage,
    ImplicitVRLittleEndian,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from bioatt.core.canonical import canonical
from bioatt.core.errors import InputError
from bioatt.core.volume import Acquisition, Volume
from bioatt.io.images import read_volume, write_volume


def test_reads_hu_geometry_and_acquisition(series):
    hu = series()
    volume = read_volume(series.folder)
    np.testing.assert_array_equal(volume.hu, hu)
    assert volume.hu.dtype == np.int16
    np.testing.assert_allclose(volume.spacing, (0.7, 0.8, 2.5), atol=1e-6)
    np.testing.assert_allclose(volume.origin, (-10.5, -12.25, 100), atol=1e-6)
    np.testing.assert_allclose(volume.direction, np.eye(3), atol=1e-9)
    assert volume.acquisition == Acquisition("B30f", 3.0, 120.0, "CT")
    assert volume.warnings == ()
    assert [path.name for path in volume.sources] == [f"{k:03d}.dcm" for k in range(5)]


def test_agrees_with_itk_series_reader(series):
    hu = ct(6)
    series(hu, orientation=(0.8, 0.6, 0, -0.6, 0.8, 0), step=(0, 0, 1.25))
    ours = read_volume(series.folder)
    theirs = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(series.folder)))
    np.testing.assert_array_equal(ours.hu, sitk.GetArrayFromImage(theirs))
    np.testing.assert_allclose(ours.spacing, theirs.GetSpacing(), atol=1e-6)
    np.testing.assert_allclose(ours.origin, theirs.GetOrigin(), atol=1e-6)
    np.testing.assert_allclose(ours.direction.ravel(), theirs.GetDirection(), atol=1e-6)


def ct(slices: int) -> np.ndarray:
    rng = np.random.default_rng(slices)
    return rng.integers(-1024, 1500, (slices, 12, 10), dtype=np.int16)


def test_any_file_order_gives_the_same_volume_and_slice_ids(series, tmp_path):
    hu = ct(6)
    series(hu)
    series(hu, folder=tmp_path / "shuffled", names=["e", "a.dcm", "f.IMA", "b", "d", "c"])
    series(hu[::-1], folder=tmp_path / "reverse", origin=(-10.5, -12.25, 112.5), step=(0, 0, -2.5))
    first = read_volume(series.folder)
    for other in (read_volume(tmp_path / "shuffled"), read_volume(tmp_path / "reverse")):
        np.testing.assert_array_equal(first.hu, other.hu)
        np.testing.assert_allclose(first.ijk_to_lps, other.ijk_to_lps, atol=1e-9)
        assert first.slice_ids == other.slice_ids


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_other_formats_keep_the_slice_ids(series, tmp_path, suffix):
    series(orientation=(-1, 0, 0, 0, -1, 0))
    volume = read_volume(series.folder)
    write_volume(volume, tmp_path / f"ct{suffix}")
    assert read_volume(tmp_path / f"ct{suffix}").slice_ids == volume.slice_ids
    upside_down = Volume(volume.hu[::-1, ::-1], direction=volume.direction * (1, -1, -1))
    assert upside_down.slice_ids == volume.slice_ids[::-1]


def test_a_slice_alone_keeps_its_identity(series):
    hu = series()
    whole = read_volume(series.folder)
    alone = read_volume(series.folder / "002.dcm")
    assert alone.shape == (1, *hu.shape[1:])
    assert alone.slice_ids == whole.slice_ids[2:3]
    assert alone.spacing == pytest.approx((0.7, 0.8, 3.0))
    assert alone.origin == pytest.approx((-10.5, -12.25, 105.0))


@pytest.mark.parametrize(
    ("orientation", "step"),
    [
        ((-1, 0, 0, 0, -1, 0), (0, 0, 2.5)),  # prone
        ((1, 0, 0, 0, -1, 0), (0, 0, 2.5)),  # rows from back to front
        ((0, 1, 0, -1, 0, 0), (0, 0, 2.5)),  # decubitus
        ((1, 0, 0, 0, 0, -1), (0, 2.5, 0)),  # coronal
        ((0, 1, 0, 0, 0, -1), (2.5, 0, 0)),  # sagittal
        ((1, 0, 0, 0, 0.9659258, 0.2588190), (0, -0.647, 2.4148)),  # oblique
    ],
)
def test_every_patient_position_lands_where_its_header_says(series, orientation, step):
    hu = series(orientation=orientation, step=step)
    volume = read_volume(series.folder)
    for k in range(len(hu)):
        header = pydicom.dcmread(volume.sources[k])
        corner = np.array(header.ImagePositionPatient, dtype=float)
        row_mm, column_mm = header.PixelSpacing
        along_row, along_column = np.array(orientation[:3]), np.array(orientation[3:])
        for i, j in ((0, 0), (19, 0), (0, 23)):
            expected = corner + i * column_mm * along_row + j * row_mm * along_column
            np.testing.assert_allclose((volume.ijk_to_lps @ [i, j, k, 1])[:3], expected, atol=1e-6)
    axial = bool(abs(np.cross(orientation[:3], orientation[3:])[2]) > 0.5)
    assert canonical(volume).axial is axial
    assert any("denoised as if axial" in warning for warning in volume.warnings) is not axial


def test_gantry_tilt_keeps_the_shear_and_warns(series):
    angle = np.radians(15)
    series(orientation=(1, 0, 0, 0, np.cos(angle), -np.sin(angle)), step=(0, 0, 5))
    volume = read_volume(series.folder)
    np.testing.assert_allclose(volume.direction[:, 2], [0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(volume.direction[:, 1], [0, np.cos(angle), -np.sin(angle)], atol=1e-6)
    assert any("gantry was tilted" in warning and "15.0 degrees" in warning for warning in volume.warnings)


def test_localizers_captures_and_other_files_are_left_out(series):
    hu = series()
    series(ct(1), name="scout{}.dcm", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    series(ct(1), name="dose{}.dcm", SOPClassUID=SecondaryCaptureImageStorage)
    (series.folder / "notes.txt").write_text("not DICOM")
    (series.folder / "empty.txt").touch()
    (series.folder / "sub").mkdir()
    np.testing.assert_array_equal(read_volume(series.folder).hu, hu)


def test_the_longest_series_is_taken_and_the_others_are_named(series):
    series(ct(6), name="a{}.dcm")
    series(ct(3), name="b{}.dcm", SeriesNumber=7, ConvolutionKernel="LUNG")
    volume = read_volume(series.folder)
    assert volume.shape[0] == 6
    (warning,) = volume.warnings
    assert "series 7 3 slices" in warning
    assert "LUNG" in warning
    assert ".dcm" not in warning
    assert read_volume(series.folder, series=7).shape[0] == 3
    with pytest.raises(InputError, match="no CT series 9"):
        read_volume(series.folder, series=9)


def test_series_of_one_length_are_refused_with_the_list(series):
    series(ct(3), name="a{}.dcm", SeriesNumber=2)
    series(ct(3), name="b{}.dcm", SeriesNumber=5)
    with pytest.raises(InputError, match=r"series 2 3 slices.*series 5 3 slices.*name one by its number") as error:
        read_volume(series.folder)
    assert "SECRET" not in str(error.value).upper()
    assert read_volume(series.folder, series=5).shape[0] == 3


def test_a_slice_of_another_plane_under_the_same_series_is_left_out(series):
    uid = generate_uid()
    hu = series(SeriesInstanceUID=uid)
    series(ct(1), name="cor{}.dcm", SeriesInstanceUID=uid, orientation=(1, 0, 0, 0, 0, -1))
    volume = read_volume(series.folder)
    np.testing.assert_array_equal(volume.hu, hu)
    assert "longest" in volume.warnings[0]


def test_a_missing_slice_is_told_and_the_others_stay(series):
    hu = series(ct(8), keep=[0, 1, 2, 4, 5, 6, 7])
    volume = read_volume(series.folder)
    assert not volume.even
    assert "slices missing: 1 (2.50 to 5.00 mm apart)" in volume.warnings[0]
    assert volume.spacing[2] == pytest.approx(2.5)
    np.testing.assert_array_equal(volume.hu, np.delete(hu, 3, axis=0))


def test_rounded_positions_are_no_gap(series):
    series(ct(9), ImagePositionPatient=lambda k: [0, 0, round(0.625 * k, 1)])
    volume = read_volume(series.folder)
    assert volume.even
    assert volume.spacing[2] == pytest.approx(0.625)


def test_copies_are_dropped_and_two_images_at_one_place_refused(series):
    hu = series()
    shutil.copy(series.folder / "001.dcm", series.folder / "copy.dcm")
    volume = read_volume(series.folder)
    np.testing.assert_array_equal(volume.hu, hu)
    assert "skipped copies of other files in the folder: 1" in volume.warnings[0]
    copy = pydicom.dcmread(series.folder / "copy.dcm")
    copy.SOPInstanceUID = generate_uid()
    copy.save_as(series.folder / "copy.dcm")
    with pytest.raises(InputError, match="1 slices share a position with another"):
        read_volume(series.folder)


@pytest.mark.parametrize("differ", ["place", "voxels"])
def test_different_images_of_one_identity_are_refused(series, differ):
    """Some anonymisers write the same SOPInstanceUID into all files."""
    place = {"ImagePositionPatient": [0, 0, 0]} if differ == "voxels" else {}
    hu = ct(3) if differ == "voxels" else np.repeat(ct(1), 3, axis=0)
    series(hu, SOPInstanceUID="1.2.3", **place)
    with pytest.raises(InputError, match="one SOPInstanceUID: export the series again"):
        read_volume(series.folder)


def test_a_copy_that_is_compressed_otherwise_is_a_copy(series):
    hu = series()
    image = pydicom.dcmread(series.folder / "001.dcm")
    image.compress(RLELossless, generate_instance_uid=False)
    image.save_as(series.folder / "copy.dcm")
    volume = read_volume(series.folder)
    np.testing.assert_array_equal(volume.hu, hu)
    assert "skipped copies of other files in the folder: 1" in volume.warnings[0]


@pytest.mark.parametrize(
    ("elements", "match"),
    [
        ({"Modality": "MR"}, "no CT slices, only 5 x modality MR"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "5 x localizer"),
        ({"SOPClassUID": EnhancedCTImageStorage}, "multi-frame CT"),
        ({"SamplesPerPixel": 3}, "colour"),
        ({"RescaleType": "Z_EFF"}, "values of type Z_EFF"),
    ],
)
def test_what_is_no_ct_is_refused(series, elements, match):
    series(**elements)
    with pytest.raises(InputError, match=re.escape(match)):
        read_volume(series.folder)


def test_slices_without_position_are_refused_but_one_alone_works(series):
    series(drop=("ImagePositionPatient",))
    with pytest.raises(InputError, match="order is unknown"):
        read_volume(series.folder)
    volume = read_volume(series.folder / "000.dcm")
    assert "no position" in volume.warnings[0]


@pytest.mark.parametrize("compressed", [False, True])
def test_truncated(series, compressed, capfd):
    series()
    file = series.folder / "003.dcm"
    if compressed:
        image = pydicom.dcmread(file)
        image.compress(RLELossless)
        image.save_as(file)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"003\.dcm is damaged or truncated"):
        read_volume(series.folder)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("length", [0, 140, 300, 700])
def test_a_slice_that_ends_within_its_header_is_not_left_out(series, length):
    series()
    file = series.folder / "004.dcm"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(InputError, match="truncated"):
        read_volume(series.folder)


def test_a_slice_that_cannot_be_read_is_not_left_out(series, monkeypatch):
    series()
    opened = Path.open

    def open_others(self, *args, **kwargs):
        if self.name == "004.dcm":
            raise PermissionError(13, "Permission denied")
        return opened(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", open_others)
    with pytest.raises(InputError, match="Permission denied"):
        read_volume(series.folder)


@pytest.mark.parametrize(("good", "bad"), [(b"1.125", b"broad"), (b"-1024.5", b"unknown")])
def test_malformed_header(series, good, bad, recwarn, caplog):
    """Values that pydicom would not write, patched into the file."""
    series(pixel=(1.125, 0.75), intercept=-1024.5)
    for path in series.folder.iterdir():
        path.write_bytes(path.read_bytes().replace(good, bad))
    with pytest.raises(InputError, match=r"malformed|damaged"):
        read_volume(series.folder)
    assert not recwarn.list
    assert not caplog.records


def test_missing_pixel_spacing_warns(series):
    series(drop=("PixelSpacing",))
    volume = read_volume(series.folder)
    assert volume.spacing == pytest.approx((1, 1, 2.5))
    assert volume.warnings == ("no Pixel Spacing in the header: 1 mm is assumed",)


def test_empty(tmp_path):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="nothing: not a DICOM image"):
        read_volume(tmp_path / "nothing")
    (tmp_path / "zero.dcm").touch()
    with pytest.raises(InputError, match="empty"):
        read_volume(tmp_path / "zero.dcm")


def test_file_without_preamble_and_implicit_vr(series):
    hu = series(syntax=ImplicitVRLittleEndian)
    volume = read_volume(series.folder)
    np.testing.assert_array_equal(volume.hu, hu)
    for path in volume.sources:
        path.write_bytes(path.read_bytes()[132:])
    np.testing.assert_array_equal(read_volume(series.folder).hu, hu)


def test_rle(series):
    hu = series()
    for path in series.folder.iterdir():
        image = pydicom.dcmread(path)
        image.compress(RLELossless)
        image.save_as(path)
    np.testing.assert_array_equal(read_volume(series.folder).hu, hu)


@pytest.mark.parametrize("side", [768, 1024])
def test_large_matrices(series, side):
    hu = np.tile(np.arange(side, dtype=np.int16) - 200, (2, side, 1))
    series(hu, pixel=(0.4, 0.4))
    volume = read_volume(series.folder)
    np.testing.assert_array_equal(volume.hu, hu)
    assert volume.spacing[:2] == (0.4, 0.4)


@pytest.mark.parametrize(
    "sample", ["MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm"]
)
def test_compressed_pixels_that_gdcm_reads(tmp_path, sample):
    """pydicom's own test images, declared as CT: the pixels match those of the uncompressed twin."""
    image = pydicom.dcmread(get_testdata_file(sample, download=False))
    image.Modality, image.SOPClassUID = "CT", "1.2.840.10008.5.1.4.1.1.2"
    image.RescaleSlope, image.RescaleIntercept = 1, -1024
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.save_as(tmp_path / "image.dcm")
    volume = read_volume(tmp_path / "image.dcm", hu=False)
    assert volume.shape == (1, image.Rows, image.Columns)
    if sample.startswith("MR_small"):
        plain = pydicom.dcmread(get_testdata_file("MR_small.dcm", download=False)).pixel_array.astype(int)
        np.testing.assert_array_equal(volume.hu[0], plain - 1024)
