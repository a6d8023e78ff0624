"""DICOM headers are checked: only CT in HU is read, other kinds are named, and noteworthy facts are reported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import MediaStorageDirectoryStorage

from bioatt.core.errors import InputError
from bioatt.io.dicom.pixels import plane_of
from bioatt.io.dicom.slices import ct_slice
from bioatt.io.images import read_volume
from bioatt.io.outputs import write_result


def refusal(path, **options):
    with pytest.raises(InputError) as error:
        read_volume(path, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def told(volume, words):
    return any(words in line for line in volume.warnings)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (["DERIVED", "PRIMARY", "AXIAL", "MAT_SPECIFIC"], "material map"),
        (["DERIVED", "PRIMARY", "AXIAL", "CT_SOM5 SPI", "DE_IODINE"], "iodine map"),
        (["DERIVED", "PRIMARY", "AXIAL", "EFF_ATOMIC_NUM"], "atomic numbers"),
        (["DERIVED", "PRIMARY", "AXIAL", "ELECTRON_DENSITY"], "electron density"),
        (["DERIVED", "SECONDARY", "CBF"], "perfusion map"),
    ],
)
def test_maps_are_refused_by_their_image_type(series, values, name):
    series(ImageType=values)
    assert name in refusal(series.folder)


@pytest.mark.parametrize("value", ["VMI", "MONOENERGETIC", "MAT_REMOVED"])
def test_computed_images_in_hu_pass(series, value):
    hu = series(ImageType=["DERIVED", "PRIMARY", "AXIAL", value])
    volume = read_volume(series.folder)
    np.testing.assert_array_equal(volume.hu, hu)
    assert told(volume, "computed image") is (value == "MAT_REMOVED")


def test_a_series_without_sop_class_is_taken_by_what_else_it_says(series, tmp_path):
    hu = series()
    for path in series.folder.iterdir():
        image = pydicom.dcmread(path)
        del image.SOPClassUID
        image.save_as(path, enforce_file_format=False)
    volume = read_volume(series.folder)
    np.testing.assert_array_equal(volume.hu, hu)
    assert told(volume, "5 of 5 images have no SOP Class UID")
    write_result(volume, tmp_path / "out", model_name="m", model_version="1", strength=1)
    assert pydicom.dcmread(tmp_path / "out" / "0001.dcm").SOPClassUID == "1.2.840.10008.5.1.4.1.1.2"


def test_nothing_is_called_a_screen_capture_that_does_not_say_so(series):
    series(SOPClassUID="1.2.840.10008.5.1.4.1.1.481.2")
    assert "RT Dose" in refusal(series.folder)
    series(folder=series.folder.with_name("sc"), SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    assert "screen capture" in refusal(series.folder.with_name("sc"))


@pytest.mark.parametrize(
    ("values", "child"),
    [
        ({"PatientAge": "006M"}, True),
        ({"PatientAge": "017Y"}, True),
        ({"PatientAge": "018Y"}, False),
        ({"PatientAge": "", "PatientBirthDate": "20100301", "StudyDate": "20260228"}, True),
        ({"PatientAge": "", "PatientBirthDate": "20080228", "StudyDate": "20260228"}, False),
        ({"PatientAge": "", "PatientBirthDate": "20260228", "StudyDate": "19000101"}, False),  # shifted for privacy
        ({}, False),
    ],
)
def test_a_child_is_told_and_no_age(series, values, child):
    series(**values)
    lines = [line for line in read_volume(series.folder).warnings if "under 18" in line]
    assert len(lines) == child
    assert not any("17" in line or "2010" in line for line in lines)


def test_lossy_compression_is_told_with_method_and_ratio(series):
    series(LossyImageCompression="01", LossyImageCompressionRatio=[8, 40], LossyImageCompressionMethod="ISO_15444_1")
    assert told(read_volume(series.folder), "lossy compression (JPEG 2000, ratio 40)")


@pytest.mark.parametrize(
    ("elements", "method"),
    [
        ({"ConvolutionKernel": ["I30f", "3"]}, "SAFIRE"),
        ({"ConvolutionKernel": ["Br40d", "3"]}, "ADMIRE"),
        ({"SeriesDescription": "Thorax ASiR-V 50%"}, "ASiR"),
        ({"SeriesDescription": "1.25 TrueFidelity DL"}, "deep learning"),
        ({"SeriesDescription": "Abdomen 2.0 AIDR 3D STD"}, "AIDR 3D"),
        ({"ReconstructionAlgorithm": "ITERATIVE"}, "iterative"),
        ({"ConvolutionKernel": ["B30f"]}, None),
        ({"SeriesDescription": "Irene's first series, basic"}, None),
        ({"ConvolutionKernel": "STANDARD"}, None),
    ],
)
def test_a_scan_denoised_in_reconstruction_is_told(series, elements, method):
    series(**elements)
    lines = [
        line for line in read_volume(series.folder).warnings if "already reconstructed with noise reduction" in line
    ]
    assert [method in line for line in lines] == ([True] if method else [])


def test_a_modality_lut_is_named(series):
    item = Dataset()
    item.add_new(0x00283002, "SS", [4096, -1024, 16])
    item.ModalityLUTType = "HU"
    series(ModalityLUTSequence=[item], drop=("RescaleSlope", "RescaleIntercept"))
    assert "Modality LUT" in refusal(series.folder)


def test_a_slope_of_zero_is_refused(series):
    series()
    for path in series.folder.iterdir():
        image = pydicom.dcmread(path)
        image.RescaleSlope = 0
        image.save_as(path)
    assert "Rescale Slope is 0" in refusal(series.folder)


def test_a_dicomdir_points_to_its_folder(series):
    series()
    image = pydicom.dcmread(series.folder / "000.dcm", stop_before_pixels=True)
    directory = Dataset()
    directory.file_meta = image.file_meta
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.FileSetID = "DISC"
    path = series.folder / "DICOMDIR"
    pydicom.dcmwrite(path, directory, enforce_file_format=True)
    assert "give the folder that contains it" in refusal(path)
    assert read_volume(series.folder).shape[0] == 5


def test_a_damaged_header_names_its_file(series):
    series()
    path = series.folder / "003.dcm"
    content = path.read_bytes()
    place = content.index(b"\x20\x00\x37\x00DS")  # Image Orientation (Patient)
    path.write_bytes(content[: place + 4] + b"DM" + content[place + 6 :])
    assert "003.dcm holds a malformed value" in refusal(series.folder)
    assert refusal(path).startswith("003.dcm holds a malformed value")


@pytest.mark.parametrize("tail", [b"\x50\x24\x1b\x7aOB\0\0\xff\xff\xff\x7f", b"\x50\x24\x1b\x7aUS\xf0\xf0ab"])
def test_an_element_longer_than_its_file_is_refused(series, tail):
    """GDCM would allocate the gigabytes that a damaged length asks for."""
    series()
    path = series.folder / "002.dcm"
    path.write_bytes(path.read_bytes() + tail)
    assert "002.dcm is damaged" in refusal(series.folder)


def test_decoders_say_nothing_past_us(capfd):
    """Otherwise libjpeg would complain about 12-bit JPEG on stderr."""
    path = Path(get_testdata_file("JPEG-lossy.dcm", download=False))
    header = pydicom.dcmread(path, stop_before_pixels=True)
    assert plane_of(ct_slice(path, header)).shape[-2:] == (1024, 256)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform == "win32", reason="closes stderr as a POSIX shell does")
def test_reading_works_where_stderr_is_closed(series):
    series()
    code = f"from bioatt.io.images import read_volume; print(read_volume({os.fspath(series.folder)!r}).shape[0])"
    done = subprocess.run(
        f'"{sys.executable}" -c "{code}" 2>&-', shell=True, capture_output=True, text=True, check=True
    )
    assert done.stdout == "5\n"
