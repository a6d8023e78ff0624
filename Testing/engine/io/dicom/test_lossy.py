"""Lossy compression: GDCM decodes what was encoded, the loss is reported, and derived series still declare it."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000, JPEGBaseline8Bit
from Testing.engine.io.conftest import ct_like

from bioatt.io.images import read_volume
from bioatt.io.outputs import write_result

image_library = pytest.importorskip("PIL.Image", reason="needs Pillow's encoders")
features = pytest.importorskip("PIL.features")


def compressed(folder, syntax, file_format, **options):
    """Compress a series' pixels in place; returns (z, y, x) stored values as Pillow decodes them."""
    decoded = []
    for path in sorted(folder.iterdir()):
        image = pydicom.dcmread(path)
        stream = io.BytesIO()
        kind = np.uint8 if image.BitsAllocated == 8 else np.uint16
        plane = np.frombuffer(image.PixelData, kind).reshape(image.Rows, image.Columns)
        image_library.fromarray(plane).save(stream, file_format, **options)
        image.PixelData = encapsulate([stream.getvalue()])
        image["PixelData"].VR = "OB"
        image.file_meta.TransferSyntaxUID = syntax
        image.save_as(path)
        decoded.append(np.asarray(image_library.open(stream)))
    return np.stack(decoded)


@pytest.mark.skipif(not features.check("jpg_2000"), reason="needs OpenJPEG")
def test_irreversible_jpeg_2000(series, tmp_path):
    flags = {"LossyImageCompressionRatio": 10, "LossyImageCompressionMethod": "ISO_15444_1"}
    hu = series(ct_like(2, 64, 64), signed=False, LossyImageCompression="01", **flags)
    stored = compressed(series.folder, JPEG2000, "JPEG2000", irreversible=True, quality_layers=[10], no_jp2=True)
    volume = read_volume(series.folder)
    np.testing.assert_array_equal(volume.hu, stored.astype(int) - 1024)
    assert 0 < np.abs(volume.hu - hu.astype(int)).max() < 100
    assert [line for line in volume.warnings if "lossy compression (JPEG 2000, ratio 10)" in line]
    write_result(volume, tmp_path / "out", model_name="m", model_version="1", strength=1)
    image = pydicom.dcmread(tmp_path / "out" / "0001.dcm")
    assert (image.LossyImageCompression, image.LossyImageCompressionRatio) == ("01", 10)
    np.testing.assert_array_equal(image.pixel_array, stored[0])


def test_jpeg_of_8_bits_is_lossy_whether_its_header_says_so_or_not(series):
    """As archives send images to web viewers: 8 bits and a slope of 16 HU."""
    series(ct_like(2, 64, 64), slope=16.0, intercept=-1024.0, signed=False)
    for path in series.folder.iterdir():
        image = pydicom.dcmread(path)
        image.BitsAllocated = image.BitsStored = 8
        image.HighBit = 7
        image.PixelData = np.frombuffer(image.PixelData, np.uint16).astype(np.uint8).tobytes()
        image.save_as(path)
    stored = compressed(series.folder, JPEGBaseline8Bit, "JPEG", quality=90)
    volume = read_volume(series.folder)
    np.testing.assert_allclose(volume.hu, stored.astype(int) * 16 - 1024, atol=16)  # inverse DCTs differ
    assert [line for line in volume.warnings if "lossy compression (JPEG)" in line]
    assert volume.rescale[0] == (16.0, -1024.0)
