"""A code stream whose size differs from the header's is refused before a decoder allocates memory for it."""

from __future__ import annotations

import pydicom
import pytest
from pydicom.data import get_testdata_file

from bioatt.io.dicom.streams import DamagedStreamError, check_fragments

SAMPLES = ["MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "JPEG2000.dcm", "JPEG-lossy.dcm"]


@pytest.mark.parametrize("sample", SAMPLES)
def test_size_of_jpeg_jpeg_ls_and_jpeg_2000(sample):
    image = pydicom.dcmread(get_testdata_file(sample, download=False))
    check_fragments(image.PixelData, image.Rows, image.Columns)
    with pytest.raises(DamagedStreamError):
        check_fragments(image.PixelData, image.Rows, image.Columns + 1)
    with pytest.raises((DamagedStreamError, ValueError)):
        check_fragments(image.PixelData[:8] + b"\0\0\0\0" + image.PixelData[8:], image.Rows, image.Columns)
