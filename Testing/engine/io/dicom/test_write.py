"""The derived series: its headers, its pixels, and that it appears as a whole or not at all."""

from __future__ import annotations

import copy
import pickle
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

import bioatt
from bioatt.core.errors import BioAttError, InputError
from bioatt.core.volume import Volume
from bioatt.io.dicom import write as dicom
from bioatt.io.dicom.write import check_series_output, write_derived_series
from bioatt.io.images import read_volume

MADE = {"model_name": "bioatt-slim", "model_version": "2", "strength": 0.8}


@pytest.fixture
def derived(series, tmp_path):
    """Read the synthetic series, lower its HU by 3 and write it; returns (input, result, sorted derived headers)."""

    def make(hu=None, slices: range | None = None, series_number=None, organ_strength=None, **options):
        series(hu, **options)
        volume = read_volume(series.folder)
        part = volume.part(slices) if slices else volume
        result = part.with_hu(part.hu.astype(np.float32) - 3)
        write_derived_series(
            result, tmp_path / "out", series_number=series_number, organ_strength=organ_strength, **MADE
        )
        images = [pydicom.dcmread(path) for path in sorted((tmp_path / "out").iterdir())]
        return part, result, images

    return make


def test_pixels_geometry_and_series_by_pydicom_and_itk(derived, tmp_path):
    _, result, images = derived()
    again = read_volume(tmp_path / "out")
    np.testing.assert_array_equal(again.hu, result.hu)
    np.testing.assert_allclose(again.ijk_to_lps, result.ijk_to_lps, atol=1e-9)
    for k, image in enumerate(images):
        stored = image.pixel_array.astype(float)
        np.testing.assert_array_equal(stored * image.RescaleSlope + image.RescaleIntercept, result.hu[k])
    itk = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "out")))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(itk), result.hu)
    np.testing.assert_allclose(itk.GetSpacing(), result.spacing, atol=1e-6)
    np.testing.assert_allclose(itk.GetOrigin(), result.origin, atol=1e-6)


def test_strengths_by_organ_are_in_the_description(derived):
    _, _, images = derived(organ_strength={"lungs": 0.5, "liver": 1.0})
    assert "strength 0.80 (lungs 0.50, liver 1.00)" in images[0].DerivationDescription
    assert "lungs 0.50" in images[0].ContributingEquipmentSequence[-1].ContributionDescription


def test_a_derived_series_is_told_from_an_original(derived, tmp_path):
    volume, _, _ = derived()
    again = read_volume(tmp_path / "out")
    assert not any("denoised" in line for line in volume.warnings)
    assert any("BioAttDenoise already denoised this volume" in line for line in again.warnings)


def test_headers_say_what_was_done(derived):
    volume, _, images = derived(StudyID="77", FrameOfReferenceUID="1.2.3", ContentDate="20200102")
    originals = [pydicom.dcmread(path) for path in volume.sources]
    assert len({image.SOPInstanceUID for image in images} | {image.SOPInstanceUID for image in originals}) == 10
    assert len({image.SeriesInstanceUID for image in images}) == 1
    for image, original in zip(images, originals, strict=True):
        assert list(image.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
        assert image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID
        assert image.SeriesInstanceUID != original.SeriesInstanceUID
        assert image.SeriesNumber == 1003
        assert image.SeriesDescription == "Abdomen [BioAtt bioatt-slim 80%, research]"
        assert image.ContentDate > original.ContentDate
        for same in (
            *("StudyInstanceUID", "FrameOfReferenceUID", "StudyID", "PatientID", "StudyDate", "InstanceNumber"),
            *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SOPClassUID"),
            *("KVP", "XRayTubeCurrent", "ConvolutionKernel", "RescaleSlope", "RescaleIntercept", "RescaleType"),
        ):
            assert image[same].value == original[same].value, same

        (code,) = image.DerivationCodeSequence
        assert coded(code) == coded_as(codes.DCM.Smoothing)
        for word in (bioatt.__version__, "bioatt-slim 2", "0.80", "Research use only"):
            assert word in image.DerivationDescription
        (source,) = image.SourceImageSequence
        assert source.ReferencedSOPInstanceUID == original.SOPInstanceUID
        assert source.ReferencedSOPClassUID == original.SOPClassUID
        (purpose,) = source.PurposeOfReferenceCodeSequence
        assert coded(purpose) == coded_as(codes.DCM.SourceImageForImageProcessingOperation)
        (equipment,) = image.ContributingEquipmentSequence
        assert coded(equipment.PurposeOfReferenceCodeSequence[0]) == coded_as(codes.DCM.ProcessingEquipment)
        assert equipment.Manufacturer == "BioAttDenoise"
        assert equipment.ManufacturerModelName == "bioatt-slim"
        assert bioatt.__version__ in equipment.SoftwareVersions
        assert "0.80" in equipment.ContributionDescription

        assert "SmallestImagePixelValue" not in image
        assert "LargestImagePixelValue" not in image
        assert not any(element.tag.is_private for element in image)


def coded(item):
    return item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning


def coded_as(code):
    return code.value, code.scheme_designator, code.meaning


def test_only_the_chosen_slices_and_number(derived):
    volume, _, images = derived(slices=range(1, 4), series_number=42)
    assert len(images) == 3
    assert {image.SeriesNumber for image in images} == {42}
    wanted = [pydicom.dcmread(path).SOPInstanceUID for path in volume.sources]
    assert [image.SourceImageSequence[0].ReferencedSOPInstanceUID for image in images] == wanted


def test_orientations_that_differ_by_rounding_are_kept(derived):
    _, _, images = derived(slices=range(2, 5), ImageOrientationPatient=lambda k: [1, k * 2e-5, 0, -k * 2e-5, 1, 0])
    assert [image.ImageOrientationPatient[1] for image in images] == pytest.approx([4e-5, 6e-5, 8e-5])


def test_each_slice_keeps_its_place_where_one_is_missing(derived):
    _, _, images = derived(keep=[0, 1, 3, 4])
    assert [float(image.ImagePositionPatient[2]) for image in images] == [100, 102.5, 107.5, 110]


def test_unsigned_12_bits_clip_and_padding_stays(derived):
    rng = np.random.default_rng(1)
    hu = rng.integers(-1024, 3072, (3, 8, 8)).astype(np.int32)
    hu[0, 0, 0], hu[0, 0, 1] = -1024, 3071
    _, _, images = derived(hu, signed=False, bits=12)
    stored = np.stack([image.pixel_array for image in images])
    np.testing.assert_array_equal(stored, np.clip(hu - 3, -1024, 3071) + 1024)
    assert images[0].HighBit == 11


def test_padding_and_fractional_slope(derived):
    rng = np.random.default_rng(2)
    hu = rng.integers(-1000, 1000, (3, 8, 8)).astype(np.int32)
    hu[:, :2] = -2000
    volume, _, images = derived(hu, slope=0.5, intercept=-1000.25)
    assert volume.hu.dtype == np.float32
    for image, before in zip(images, volume.hu, strict=True):
        after = image.pixel_array * 0.5 - 1000.25
        np.testing.assert_array_equal(after[:2], before[:2])
        np.testing.assert_array_equal(after[2:], before[2:] - 3)


def test_implicit_and_compressed_sources_become_explicit_uncompressed(derived):
    hu = np.random.default_rng(3).integers(-1000, 1000, (3, 8, 8)).astype(np.int16)
    _, _, images = derived(hu, syntax=ImplicitVRLittleEndian)
    assert images[0].file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    np.testing.assert_array_equal(images[1].pixel_array - 1024, hu[1] - 3)


def test_missing_rescale_is_written_out(derived):
    _, result, images = derived(intercept=0, drop=("RescaleSlope", "RescaleIntercept", "RescaleType"))
    assert (images[0].RescaleSlope, images[0].RescaleIntercept, images[0].RescaleType) == (1, 0, "HU")
    np.testing.assert_array_equal(images[0].pixel_array, result.hu[0])


def test_needs_dicom_sources_and_an_empty_folder(series, tmp_path):
    series()
    volume = read_volume(series.folder)
    with pytest.raises(InputError, match="is not empty"):
        write_derived_series(volume, series.folder, **MADE)
    with pytest.raises(InputError, match="folder missing does not exist"):
        check_series_output(volume, tmp_path / "missing" / "out")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        check_series_output(volume, tmp_path / "file")
    with pytest.raises(InputError, match="needs DICOM input"):
        check_series_output(Volume(volume.hu), tmp_path / "out")
    (tmp_path / "empty").mkdir()
    write_derived_series(volume, tmp_path / "empty", **MADE)
    assert len(list((tmp_path / "empty").iterdir())) == 5
    volume.sources[2].unlink()
    with pytest.raises(InputError, match="needs DICOM input"):
        write_derived_series(volume, tmp_path / "late", **MADE)


@pytest.mark.parametrize("carried", [lambda volume: volume, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))])
def test_headers_of_files_replaced_since_are_refused(series, tmp_path, carried):
    """Between reading and writing, another patient's scan with the same file names and size replaces the source."""
    hu = series()
    volume = carried(read_volume(series.folder)).part(range(1, 4))
    series(hu, PatientName="Other^Person")
    with pytest.raises(InputError, match=r"001\.dcm has changed since it was read"):
        write_derived_series(volume.with_hu(volume.hu), tmp_path / "out", **MADE)
    assert not (tmp_path / "out").exists()


def test_sources_named_by_plain_paths_are_taken_as_they_are(series, tmp_path):
    series()
    volume = read_volume(series.folder)
    plain = Volume(volume.hu, volume.spacing, volume.origin, sources=tuple(map(Path, map(str, volume.sources))))
    write_derived_series(plain, tmp_path / "out", **MADE)
    assert len(list((tmp_path / "out").iterdir())) == 5


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_text_that_its_character_set_cannot_decode_keeps_its_bytes(series, tmp_path, syntax):
    """Latin-1 declared as UTF-8, in the header and in a sequence that also holds private elements."""
    item = Dataset()
    item.PatientID, item.TypeOfPatientID = "MXLLER^JXRG ", "TEXT"
    item.add_new(0x00090010, "LO", "VENDOR")
    item.add_new(0x00091001, "LO", "private")
    ids = {"PatientName": "MXLLER^JXRG ", "PatientID": "MXLLER^JXRG ", "OtherPatientIDsSequence": [item]}
    series(syntax=syntax, SpecificCharacterSet="ISO_IR 192", **ids)
    for path in series.folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"MXLLER^JXRG", b"M\xfcLLER^J\xf6RG"))
    write_derived_series(read_volume(series.folder), tmp_path / "out", **MADE)
    for path in (tmp_path / "out").iterdir():
        image = pydicom.dcmread(path)
        assert image.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert image.get_item("PatientName").value == image.get_item("PatientID").value == b"M\xfcLLER^J\xf6RG "
        (item,) = image.OtherPatientIDsSequence
        assert item.get_item("PatientID").value == b"M\xfcLLER^J\xf6RG "
        assert not [tag for dataset in (image, item) for tag in dataset.keys() if tag.is_private]  # noqa: SIM118
        assert b"\xef\xbf\xbd" not in path.read_bytes()


def test_private_elements_of_the_source_s_equipment_are_left_out(derived):
    item = Dataset()
    item.Manufacturer = "Scanner"
    item.add_new(0x00090010, "LO", "VENDOR")
    _, _, images = derived(ContributingEquipmentSequence=[item])
    first, last = images[0].ContributingEquipmentSequence
    assert (first.Manufacturer, last.Manufacturer) == ("Scanner", "BioAttDenoise")
    assert (0x0009, 0x0010) not in first


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"], ["AXIAL", "CT_SOM5 SPI"]),
        (["DERIVED", "SECONDARY", "REFORMATTED", "MAX_IP"], ["REFORMATTED", "MAX_IP"]),
        (["ORIGINAL", "PRIMARY"], ["AXIAL"]),
        ("ORIGINAL", ["AXIAL"]),
        (["ORIGINAL", "PRIMARY", "", "MAX_IP"], ["AXIAL", "MAX_IP"]),
    ],
)
def test_image_type_keeps_what_kind_of_image_it_is(derived, before, after):
    _, _, images = derived(ImageType=before)
    assert list(images[0].ImageType) == ["DERIVED", "SECONDARY", *after]


@pytest.mark.parametrize(("length", "kept"), [(7, 7), (1024, None)])
def test_an_earlier_derivation_stays_described(derived, length, kept):
    _, _, images = derived(DerivationDescription="resliced"[:length].ljust(length, "x"))
    before, ours = images[0].DerivationDescription.split("; ")
    assert before.startswith("reslice")
    assert ours.startswith("CT noise reduced by BioAttDenoise")
    assert ours.endswith("Research use only.")
    assert len(before) == kept or len(images[0].DerivationDescription) == 1024


@pytest.mark.parametrize(("offset", "hours"), [("+1300", 13), ("-0930", -9.5), ("+2500", None), ("east", None)])
def test_times_are_written_in_the_zone_of_the_header(derived, offset, hours):
    with pydicom.config.disable_value_validation():
        _, _, images = derived(TimezoneOffsetFromUTC=offset)
    zone = None if hours is None else timezone(timedelta(hours=hours))
    now = datetime.now(zone).replace(tzinfo=None)
    for date, time in ((images[0].ContentDate, images[0].ContentTime), (images[0].SeriesDate, images[0].SeriesTime)):
        assert abs(datetime.strptime(date + time, "%Y%m%d%H%M%S") - now) < timedelta(minutes=5)
    assert images[0].ContributingEquipmentSequence[-1].ContributionDateTime[:8] == images[0].ContentDate


def test_a_failure_leaves_nothing_behind(series, tmp_path, monkeypatch):
    series()
    volume = read_volume(series.folder)
    before = sorted(tmp_path.iterdir())
    written = 0

    def fail(*_):
        nonlocal written
        written += 1
        if written == 3:
            raise OSError(28, "No space left on device")
        return dicom._Range(-1024, 3071, 1)

    monkeypatch.setattr(dicom, "_set_pixels", fail)
    with pytest.raises(InputError, match="No space left"):
        write_derived_series(volume, tmp_path / "out", **MADE)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
def test_full_disk_leaves_nothing_behind(series, tmp_path, small_files_only):
    series()
    volume = read_volume(series.folder)
    before = sorted(tmp_path.iterdir())
    with small_files_only(1500), pytest.raises(InputError, match="could not be written"):
        write_derived_series(volume, tmp_path / "out", **MADE)
    assert sorted(tmp_path.iterdir()) == before


def test_values_against_the_standard_are_carried_without_a_word(series, tmp_path, capfd, recwarn, caplog):
    bad = {"StudyInstanceUID": "1.2.840..0123.secret", "StudyDate": "secret date", "PatientAge": "secret and long"}
    with pydicom.config.disable_value_validation():
        series(**bad)
    write_derived_series(read_volume(series.folder), tmp_path / "out", **MADE)
    assert not [warning for warning in recwarn.list if "secret" in str(warning.message)]
    assert "secret" not in caplog.text + "".join(capfd.readouterr())
    with pydicom.config.disable_value_validation():
        image = pydicom.dcmread(tmp_path / "out" / "0001.dcm")
        assert {name: image[name].value for name in bad} == bad


def test_clipped_voxels_are_counted(series, tmp_path):
    series(signed=False, bits=12)
    volume = read_volume(series.folder)
    hu = volume.hu.astype(np.float32)
    hu[hu < -1024] = -1024
    assert write_derived_series(volume.with_hu(hu), tmp_path / "whole", **MADE) == ()
    hu[0, 0, :3], hu[1, 1, 1] = -1030, 4000
    (warning,) = write_derived_series(volume.with_hu(hu), tmp_path / "clipped", **MADE)
    assert warning == "4 voxels clipped by up to 929 HU to the series' range, -1024 to 3071 HU"


@pytest.mark.parametrize("what", ["place", "voxels"])
def test_what_was_not_meant_is_refused(series, tmp_path, monkeypatch, what):
    """A slice displaced by 1 mm along z, or voxels that differ from the result's."""
    series()
    volume = read_volume(series.folder)
    describe, set_pixels = dicom._describe, dicom._set_pixels

    def shift(derived, *rest):
        describe(derived, *rest)
        derived.ImagePositionPatient[2] += 1

    if what == "place":
        monkeypatch.setattr(dicom, "_describe", shift)
    else:
        monkeypatch.setattr(dicom, "_set_pixels", lambda derived, hu: set_pixels(derived, hu + 2))
    with pytest.raises(BioAttError, match="does not read back"):
        write_derived_series(volume, tmp_path / "out", **MADE)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("tag", "value"), [(0x00280101, b""), (0x00280101, b"\xff\xff"), (0x00280103, b"")], ids=["blank", "absurd", "sign"]
)
def test_a_header_that_cannot_be_written_again_is_refused_before_the_run(series, tmp_path, tag, value):
    """Without BitsStored and PixelRepresentation, the result cannot be stored: an hour of denoising would be lost."""
    series()
    volume = read_volume(series.folder)
    _put(sorted(series.folder.iterdir())[-1], tag, "US", value)
    with pytest.raises(InputError, match="header that cannot be rewritten"):
        check_series_output(volume, tmp_path / "out")


def test_a_series_number_that_is_none_is_no_reason_to_refuse(series, tmp_path):
    series()
    volume = read_volume(series.folder)
    for path in series.folder.iterdir():
        _put(path, 0x00200011, "IS", b"1\\2 ")
    write_derived_series(volume, tmp_path / "out", model_name="m", model_version="1", strength=1.0)
    assert read_volume(tmp_path / "out").shape == volume.shape
    assert pydicom.dcmread(tmp_path / "out" / "0001.dcm").SeriesNumber == 1000


@pytest.mark.parametrize("below", ["out", "deeper/out"])
def test_a_series_is_not_put_into_its_scan_s_own_folder(series, below):
    series()
    (series.folder / "deeper").mkdir()
    with pytest.raises(InputError, match="inside the scan's folder"):
        check_series_output(read_volume(series.folder), series.folder / below)


def _put(path, tag, vr, value):
    """Put bytes into a file's header that pydicom itself would not write."""
    image = pydicom.dcmread(path)
    image[tag] = RawDataElement(pydicom.tag.Tag(tag), vr, len(value), value, 0, False, True)
    with pydicom.config.disable_value_validation():
        image.save_as(path)


def test_the_level_of_a_strength_is_told_with_its_number(series, tmp_path):
    series()
    volume = read_volume(series.folder)
    write_derived_series(volume, tmp_path / "out", **{**MADE, "strength": 0.62, "strength_asked": "medium"})
    image = pydicom.dcmread(next((tmp_path / "out").iterdir()))
    assert image.SeriesDescription.endswith("[BioAtt bioatt-slim medium 62%, research]")
    assert "strength medium (0.62)" in image.DerivationDescription
    assert "strength medium (0.62)" in image.ContributingEquipmentSequence[-1].ContributionDescription
