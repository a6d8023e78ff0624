"""From stored values to HU: sign and bits, rescale, padding, MONOCHROME1."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless

from bioatt.core.canonical import canonical
from bioatt.core.errors import InputError
from bioatt.io.images import read_volume

HU = np.random.default_rng(3).integers(-1024, 1500, (3, 12, 10), dtype=np.int32)


@pytest.mark.parametrize(("signed", "bits", "intercept"), [(True, 16, -1024), (False, 12, -1024), (False, 16, -8192)])
def test_signed_and_unsigned_storage(series, signed, bits, intercept):
    hu = series(signed=signed, bits=bits, intercept=intercept)
    np.testing.assert_array_equal(read_volume(series.folder).hu, hu)


def test_fractional_slope_and_a_rescale_of_each_slice(series):
    hu = series(slope=0.5, intercept=-1024.25, RescaleType="HU")
    volume = read_volume(series.folder)
    assert volume.hu.dtype == np.float32
    np.testing.assert_allclose(volume.hu, hu, atol=0.26)

    for k, path in enumerate(volume.sources):
        image = pydicom.dcmread(path)
        image.RescaleSlope, image.RescaleIntercept = 1 + k, -1024
        image.save_as(path)
    rescaled = read_volume(series.folder)
    assert rescaled.hu.dtype == np.int16
    for k, path in enumerate(rescaled.sources):
        stored = pydicom.dcmread(path).pixel_array.astype(int)
        np.testing.assert_array_equal(rescaled.hu[k], stored * (1 + k) - 1024)


def test_metal_above_3071_and_beyond_int16(series):
    hu = HU.copy()
    hu[1, 3, 3], hu[1, 4, 4] = 30_000, 60_000
    series(hu, signed=False)
    volume = read_volume(series.folder)
    assert volume.hu.dtype == np.int32
    np.testing.assert_array_equal(volume.hu, hu)


@pytest.mark.parametrize(("signed", "declared"), [(True, -2000), (True, 63536), (False, 63536)])
def test_declared_padding_is_known(series, signed, declared):
    """-2000 itself, and the unsigned value that some scanners write for it."""
    hu = HU.copy()
    stored = -2000 if signed else 63536
    hu[:, :3, :3] = stored - 1024
    series(hu, signed=signed)
    for path in series.folder.iterdir():
        image = pydicom.dcmread(path)
        image.add_new("PixelPaddingValue", "US" if declared > 0 else "SS", declared)
        image.save_as(path)
    volume = read_volume(series.folder)
    assert volume.padding_mask[:, :3, :3].all()
    assert volume.padding_mask.sum() == 27
    prepared = canonical(volume)
    assert (prepared.volume.hu[:, :3, :3] == -1000).all()
    restored = volume.with_hu(prepared.undo(prepared.volume.hu) + 1.4)
    assert (restored.hu[:, :3, :3] == stored - 1024).all()
    assert (restored.hu[:, 3:, 3:] == volume.hu[:, 3:, 3:] + 1).all()


def test_missing_rescale_warns_where_values_are_hu_and_is_refused_where_not(series, tmp_path):
    series(intercept=0, drop=("RescaleSlope", "RescaleIntercept", "RescaleType"))
    assert any("no Rescale Intercept" in warning for warning in read_volume(series.folder).warnings)
    series(folder=tmp_path / "raw", drop=("RescaleSlope", "RescaleIntercept", "RescaleType"))
    with pytest.raises(InputError, match="without their rescale"):
        read_volume(tmp_path / "raw")


def test_a_blank_rescale_intercept_of_some_slices_is_refused(series):
    """Read as 0, it would make those slices 1024 HU too bright."""
    series()
    path = sorted(series.folder.iterdir())[1]
    image = pydicom.dcmread(path)
    image.RescaleIntercept = None
    image.save_as(path)
    with pytest.raises(InputError, match=r"1 of .* slices have no Rescale Intercept"):
        read_volume(series.folder)


@pytest.mark.parametrize("rle", [False, True])
@pytest.mark.parametrize(("signed", "bits"), [(True, 16), (False, 12)])
def test_dark_on_bright_is_a_matter_of_display(series, signed, bits, rle):
    """MONOCHROME1 defines how stored values are displayed, not what they are (PS3.3 C.7.6.3.1.2); GDCM inverts them."""
    hu = series(PhotometricInterpretation="MONOCHROME1", signed=signed, bits=bits)
    for path in series.folder.iterdir() if rle else ():
        image = pydicom.dcmread(path)
        image.compress(RLELossless)
        image.save_as(path)
    np.testing.assert_array_equal(read_volume(series.folder).hu, hu)


def test_dark_on_bright_damaged_or_compressed_otherwise(series):
    series(PhotometricInterpretation="MONOCHROME1")
    path = series.folder / "002.dcm"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"002\.dcm is damaged"):
        read_volume(series.folder)


def changed(series, number, change):
    path = series.folder / f"{number:03d}.dcm"
    image = pydicom.dcmread(path)
    change(image)
    image.save_as(path)


def shorter(image):
    image.PixelData = image.PixelData[:-100]


def halved(image):
    image.Columns //= 2


def at_the_top(image):
    image.PixelData = (image.pixel_array.astype(np.uint16) << 4).tobytes()
    image.HighBit = 15


@pytest.mark.parametrize(
    ("change", "said"), [(shorter, "damaged or truncated"), (halved, "damaged"), (at_the_top, "High Bit 15")]
)
def test_pixels_that_do_not_fill_their_rows_and_columns_are_refused(series, change, said):
    """GDCM would fill the rest from uninitialised memory, with different values in the HU range each time."""
    series(HU, bits=12, signed=False)
    if change is halved:
        for number in (0, 2):
            changed(series, number, change)
    changed(series, 1, change)
    with pytest.raises(InputError, match=said):
        read_volume(series.folder)


def test_an_odd_number_of_bytes_has_one_more(series):
    hu = np.random.default_rng(0).integers(0, 200, (2, 5, 5))
    series(hu, intercept=0)
    for number in range(2):
        changed(series, number, lambda image: image.__setattr__("PixelData", image.PixelData + b"\0\0"))
    np.testing.assert_array_equal(read_volume(series.folder, hu=False).hu, hu)


def test_a_slope_that_some_slices_lack_is_refused(series):
    series(HU, slope=2.0, RescaleSlope=lambda k: 2.0 if k else "")
    with pytest.raises(InputError, match="1 of 3 slices have no Rescale Slope"):
        read_volume(series.folder)


@pytest.mark.filterwarnings("ignore:Invalid value for VR DS")
@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
def test_a_rescale_that_is_no_finite_number_is_refused(series, keyword):
    series(HU, **{keyword: "inf"})
    with pytest.raises(InputError, match="not a finite number"):
        read_volume(series.folder)
