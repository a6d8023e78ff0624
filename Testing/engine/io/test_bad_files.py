"""Files that are not CT volumes give a one-line error that says what is wrong, never a traceback or invented voxels."""

from __future__ import annotations

import gzip
import struct
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
import SimpleITK as sitk

from bioatt.core.errors import InputError
from bioatt.io.images import read_volume

FORMATS = [".nrrd", ".nii", ".nii.gz", ".mha"]
NOISE = np.random.default_rng(0).integers(-1024, 2000, (6, 32, 32)).astype(np.int16)


def write(path, voxels=NOISE, compress=True, **options):
    sitk.WriteImage(sitk.GetImageFromArray(voxels, **options), str(path), useCompression=compress)
    return path


def refused(path, match, capfd):
    with pytest.raises(InputError, match=match) as error:
        read_volume(path)
    assert path.name in str(error.value)
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0.001, 0.05, 0.5, 0.999])
def test_truncated(tmp_path, suffix, compress, share, capfd):
    path = write(tmp_path / f"ct{suffix}", compress=compress)
    content = path.read_bytes()
    path.write_bytes(content[: max(8, int(share * len(content)))])
    refused(path, "truncated|damaged|header has no end", capfd)


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_damaged_within(tmp_path, suffix, capfd):
    path = write(tmp_path / f"ct{suffix}")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40] = bytes(40)
    path.write_bytes(content)
    refused(path, "damaged", capfd)


@pytest.mark.parametrize("suffix", [*FORMATS, ".dcm", "", ".png", ".txt"])
def test_junk_and_empty(tmp_path, suffix, capfd):
    path = tmp_path / f"ct{suffix}"
    path.write_bytes(b"")
    refused(path, "empty", capfd)
    path.write_bytes(b"this is no image at all\n" * 50)
    refused(path, "damaged|header|NIfTI|known format", capfd)


def test_missing(tmp_path, capfd):
    refused(tmp_path / "nowhere.nrrd", "no such file", capfd)


@pytest.mark.parametrize("suffix", FORMATS)
def test_colour_and_time_series(tmp_path, suffix, capfd):
    vector = np.stack([NOISE] * 3, axis=-1)
    refused(write(tmp_path / f"rgb{suffix}", vector, isVector=True), "3 values per voxel", capfd)
    series = np.stack([NOISE, NOISE])
    refused(write(tmp_path / f"four{suffix}", series, isVector=False), "4 dimensions", capfd)
    assert read_volume(write(tmp_path / f"one{suffix}", series[:1], isVector=False)).shape == NOISE.shape


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    ("voxels", "match"),
    [
        (np.where(NOISE > 1990, np.nan, NOISE).astype(np.float32), "NaN or infinite"),
        (np.where(NOISE > 1990, np.inf, NOISE).astype(np.float32), "NaN or infinite"),
        (((NOISE + 1024) / 3024).astype(np.float32), "normalised"),
        (((NOISE + 1024) / 3024 * 255).round().astype(np.uint8), "8-bit"),
        ((NOISE // 8 + 1024).clip(0, 1500).astype(np.uint16), "without their rescale"),
    ],
)
def test_no_hu(tmp_path, suffix, voxels, match, capfd):
    path = write(tmp_path / f"ct{suffix}", voxels)
    refused(path, match, capfd)
    if "NaN" not in match:
        assert read_volume(path, hu=False).shape == NOISE.shape


def test_a_png_is_refused(tmp_path, capfd):
    refused(write(tmp_path / "ct.png", NOISE[0].astype(np.uint8)), "not a DICOM image or known format", capfd)


def test_warnings_of_libraries_stay_off_stderr(tmp_path):
    path = write(tmp_path / "ct.nrrd", NOISE)
    code = f"from bioatt.io.images import read_volume; read_volume({str(path)!r})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("", "")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (72, struct.pack("<h", 32)),
        (72, struct.pack("<h", 4)),
        (72, struct.pack("<h", -16)),
        (108, struct.pack("<f", np.nan)),
        (108, struct.pack("<f", np.inf)),
        (108, struct.pack("<f", -352)),
        (40, struct.pack("<h", 9)),
        (40, struct.pack("<h", 0)),
        (44, struct.pack("<h", -32)),
    ],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_damaged_nifti_header(tmp_path, suffix, place, value, dtype, capfd):
    path = write(tmp_path / f"ct{suffix}", NOISE.astype(dtype))
    content = path.read_bytes()
    content = bytearray(gzip.decompress(content) if suffix == ".nii.gz" else content)
    if bytes(content[place : place + len(value)]) == value:
        pytest.skip("that is what a whole file has")
    content[place : place + len(value)] = value
    path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    refused(path, "damaged", capfd)


RAW = NOISE.tobytes()
PACKED = zlib.compress(RAW)
SIZED = f"CompressedData = True\nCompressedDataSize = {len(PACKED)}\n"
SLICES = [NOISE[k].tobytes() for k in range(len(NOISE))]


def meta_image(path, fields, voxels=b"", data="LOCAL"):
    """Write a MetaImage header with `fields`, followed by `voxels`; returns the path."""
    start = "ObjectType = Image\nNDims = 3\nDimSize = 32 32 6\nElementType = MET_SHORT\nBinaryData = True\n"
    path.write_bytes(f"{start}{fields}ElementDataFile = {data}\n".encode() + voxels)
    return path


@pytest.mark.parametrize(
    ("fields", "voxels", "match"),
    [
        ("CompressedData = True\n", PACKED, "lacks CompressedDataSize"),
        ("CompressedData = True\nCompressedDataSize = 0\n", PACKED, "lacks CompressedDataSize"),
        ("CompressedData = True\nCompressedDataSize = 900\n", PACKED, "truncated"),
        ("CompressedData = 1\nCompressedDataSize = 99999\n", PACKED, "truncated"),
        ("CompressedData = True\nCompressedDataSize = -1\n", PACKED, "truncated"),
        (f"{SIZED}DimSize = 32 32 9\n", PACKED, "fewer voxels"),
        (f"{SIZED}DimSize = 2000 2000 400\n", PACKED, "fewer voxels"),
        (f"{SIZED}DimSize = 32 31 6\n", PACKED, "more voxels"),
        (f"{SIZED}ElementNumberOfChannels = 2\n", PACKED, "fewer voxels"),
        (f"{SIZED}ElementType = MET_FLOAT\n", PACKED, "fewer voxels"),
        (f"{SIZED}HeaderSize = 20\n", PACKED, "truncated"),
        ("HeaderSize = 20\n", RAW, "truncated"),
        ("HeaderSize = -1\n", RAW[:-20], "truncated"),
        ("HeaderSize = 100000\n", RAW, "truncated"),
        ("ElementType = MET_SPAM\n", RAW, "ElementType"),
        ("NDims = -1\n", RAW, "impossible MetaImage header"),
        ("NDims = 65536\n", RAW, "impossible MetaImage header"),
        ("DimSize = 32 nan 6\n", RAW, "impossible MetaImage header"),
    ],
)
def test_meta_image_of_fewer_voxels_than_its_header_says(tmp_path, fields, voxels, match, capfd):
    """ITK would exit with 0 and fill the missing voxels from uninitialised memory, or crash."""
    refused(meta_image(tmp_path / "ct.mha", fields, voxels), match, capfd)


@pytest.mark.parametrize(
    ("data", "files", "match"),
    [
        ("ct.zraw", {"ct.zraw": zlib.compress(RAW[:5000])}, "fewer voxels"),
        ("ct.zraw", {"ct.zraw": zlib.compress(RAW + RAW)}, "more voxels"),
        ("ct.zraw", {"ct.zraw": PACKED[:5000]}, "truncated"),
        ("ct.zraw", {"ct.zraw": gzip.compress(RAW[:5000]) + gzip.compress(RAW[5000:])}, "fewer voxels"),
        ("ct.raw", {"ct.raw.gz": gzip.compress(RAW[:5000])}, "fewer voxels"),
        ("ct.zraw", {}, "missing"),
        ("s%d.zraw 1 6 1", {f"s{k}.zraw": zlib.compress(SLICES[0][: 400 * k]) for k in range(1, 7)}, "fewer voxels"),
        ("s%d.zraw 1 3 1", {f"s{k}.zraw": zlib.compress(SLICES[0]) for k in range(1, 7)}, "3 files for 6 slices"),
        ("s%d.zraw 1 6", {f"s{k}.zraw": zlib.compress(SLICES[0]) for k in range(1, 7)}, "invalid file series"),
        ("LIST" + "\ns.zraw" * 5, {"s.zraw": zlib.compress(SLICES[0])}, "5 files for 6 slices"),
        ("LIST" + "\ns.zraw" * 6, {"s.zraw": zlib.compress(SLICES[0][:900])}, "data file 1: fewer voxels"),
        ("LIST 3\nct.zraw", {"ct.zraw": PACKED}, "not slices"),
    ],
)
def test_meta_image_whose_data_files_are_short(tmp_path, data, files, match, capfd):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    refused(meta_image(tmp_path / "ct.mhd", "CompressedData = True\n", data=data), match, capfd)


@pytest.mark.parametrize(
    ("fields", "data"),
    [
        (SIZED, "ct.zraw"),
        ("CompressedData = True\n", "ct.zraw"),
        ("", "ct.raw"),
        ("", "packed.raw"),
        ("CompressedData = True\n", "s%02d.zraw 0 5 1"),
        ("CompressedData = True\n", "s%02d.zraw 0"),
        ("CompressedData = True\n", "LIST" + "".join(f"\ns{k:02d}.zraw" for k in range(6))),
        ("HeaderSize = -1\n", "behind.raw"),
        ("HeaderSize = 100\n", "behind.raw"),
    ],
)
def test_whole_meta_image_is_read_from_wherever_its_data_lie(tmp_path, fields, data):
    for k, voxels in enumerate(SLICES):
        (tmp_path / f"s{k:02d}.zraw").write_bytes(zlib.compress(voxels))
    (tmp_path / "ct.zraw").write_bytes(PACKED)
    (tmp_path / "ct.raw").write_bytes(RAW)
    (tmp_path / "packed.raw.gz").write_bytes(gzip.compress(RAW))
    (tmp_path / "behind.raw").write_bytes(bytes(100) + RAW)
    np.testing.assert_array_equal(read_volume(meta_image(tmp_path / "ct.mhd", fields, data=data)).hu, NOISE)


def test_damaged_data_file_of_an_nrrd_header(tmp_path, capfd):
    write(tmp_path / "ct.nhdr")
    data = tmp_path / "ct.raw.gz"
    content = bytearray(data.read_bytes())
    content[5000:5040] = bytes(40)
    data.write_bytes(content)
    refused(tmp_path / "ct.nhdr", "damaged", capfd)


def test_a_stream_that_unpacks_to_too_much_is_checked_in_little_memory(tmp_path, capfd):
    bomb = zlib.compress(bytes(1 << 29), 9)
    path = meta_image(tmp_path / "ct.mha", f"CompressedData = True\nCompressedDataSize = {len(bomb)}\n", bomb)
    tracemalloc.start()
    try:
        refused(path, "more voxels", capfd)
        assert tracemalloc.get_traced_memory()[1] < 1 << 28
    finally:
        tracemalloc.stop()


def test_sheared_nifti_is_told_from_a_damaged_one(tmp_path, capfd):
    path = write(tmp_path / "ct.nii", compress=False)
    content = bytearray(path.read_bytes())
    content[252:256] = struct.pack("<hh", 0, 1)  # no qform, but an sform
    content[280:328] = struct.pack("<12f", 1, 0, 0, 0, 0, 1, 0.3, 0, 0, 0, 1, 0)
    path.write_bytes(content)
    refused(path, "sheared axes", capfd)


def test_nifti_whose_offset_is_left_zero(tmp_path):
    path = write(tmp_path / "ct.nii", compress=False)
    content = bytearray(path.read_bytes())
    content[108:112] = bytes(4)
    path.write_bytes(content[:348] + content[352:])
    np.testing.assert_array_equal(read_volume(path).hu, NOISE)
