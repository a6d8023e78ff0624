"""Headers that promise more than their files hold are refused at once, in little memory, before ITK sees them."""

from __future__ import annotations

import os
import re
import tracemalloc
import zlib

import numpy as np
import pytest
import SimpleITK as sitk

from bioatt.core.errors import InputError
from bioatt.io.images import read_volume

NOISE = np.random.default_rng(0).integers(-1024, 1000, (3, 24, 24)).astype("<i2")
RAW = NOISE.tobytes()
NRRD = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "24 24 3",
    "space directions": "(0.8,0,0) (0,0.8,0) (0,0,5)",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(0,0,0)",
}


def nrrd(path, data=RAW, **changes):
    fields = {**NRRD, **{key.replace("_", " "): value for key, value in changes.items()}}
    text = "NRRD0004\n" + "".join(f"{key}: {value}\n" for key, value in fields.items() if value is not None)
    path.write_bytes(text.encode() + b"\n" + data)
    return path


def refused(path, match):
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=match) as error:
            read_volume(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 26
    finally:
        tracemalloc.stop()
    assert str(error.value).startswith(f"{path.name}: ")


def test_the_header_that_the_others_are_made_from_is_read(tmp_path):
    np.testing.assert_array_equal(read_volume(nrrd(tmp_path / "ct.nrrd")).hu, NOISE)
    packed = nrrd(tmp_path / "packed.nrrd", zlib.compress(RAW, wbits=31), encoding="gzip")
    np.testing.assert_array_equal(read_volume(packed).hu, NOISE)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"sizes": "3000 3000 1000"}, "truncated"),
        ({"sizes": "24 24 -3"}, "impossible NRRD header"),
        ({"sizes": "24 24 0"}, "impossible NRRD header"),
        ({"sizes": "24 24 99999999999999"}, "impossible NRRD header"),
        ({"type": "double"}, "truncated"),
        ({"space_directions": "(0.8,0,0) (0,0.8,0) (0,1e308,5)"}, "implausible for CT"),
        ({"space_directions": "(0.8,0,0) (0,nan,0) (0,0,5)"}, "positive"),
        ({"space_directions": "(0.8,0,0) (0,spam,0) (0,0,5)"}, "not numeric"),
        ({"space_origin": "(0,inf,0)"}, "origin"),
        (
            {"space_directions": None, "space": None, "space_origin": None, "spacings": "1e300 1 1"},
            "implausible for CT",
        ),
    ],
)
def test_nrrd_that_asks_for_the_impossible(tmp_path, changes, match):
    refused(nrrd(tmp_path / "ct.nrrd", **changes), match)


def test_packed_nrrd_of_fewer_voxels_than_its_header_says(tmp_path):
    packed = zlib.compress(RAW, wbits=31)
    refused(nrrd(tmp_path / "ct.nrrd", packed, encoding="gzip", sizes="3000 3000 1000"), "fewer voxels")


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("TransformMatrix", "1 0 0 0 1 0 0 1e308 1", "direction"),
        ("TransformMatrix", "1 0 0 0 nan 0 0 0 1", "direction"),
        ("Offset", "inf 0 0", "origin"),
        ("ElementSpacing", "1 1 1e300", "implausible for CT"),
        ("ElementSpacing", "1 spam 1", "other than numbers"),
    ],
)
def test_meta_image_with_a_geometry_that_is_none(tmp_path, field, value, match):
    """ITK would loop forever on a direction of 1e308, ignoring SIGTERM."""
    path = tmp_path / "ct.mha"
    start = "ObjectType = Image\nNDims = 3\nDimSize = 24 24 3\nElementType = MET_SHORT\n"
    path.write_bytes(f"{start}{field} = {value}\nElementDataFile = LOCAL\n".encode() + RAW)
    refused(path, match)


@pytest.mark.parametrize("kind", [".nhdr", ".mhd"])
@pytest.mark.parametrize("data", ["/etc/passwd", "../secret.raw", "/dev/zero", "pipe", "nowhere.raw"])
def test_a_header_that_names_what_is_not_beside_it(tmp_path, kind, data):
    folder = tmp_path / "scan"
    folder.mkdir()
    (tmp_path / "secret.raw").write_bytes(RAW)
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe")
    path = folder / f"ct{kind}"
    if kind == ".nhdr":
        nrrd(path, b"", data_file=data)
    else:
        start = "ObjectType = Image\nNDims = 3\nDimSize = 24 24 3\nElementType = MET_SHORT\n"
        path.write_text(f"{start}ElementDataFile = {data}\n")
    refused(path, re.compile("outside its own folder|not a regular file|missing"))


@pytest.mark.parametrize("number", [1, 2])
def test_one_of_several_volumes_of_a_file_is_chosen_by_number(tmp_path, number):
    both = np.stack([NOISE, NOISE[::-1]])
    directions = "(0.8,0,0) (0,0.8,0) (0,0,5)"
    last = {"dimension": "4", "sizes": "24 24 3 2", "kinds": "domain domain domain list"}
    first = {"dimension": "4", "sizes": "2 24 24 3", "kinds": "list domain domain domain"}
    one = nrrd(tmp_path / "last.nrrd", both.tobytes(), **last, space_directions=f"{directions} none")
    other = nrrd(
        tmp_path / "first.nrrd", np.stack(both, axis=-1).tobytes(), **first, space_directions=f"none {directions}"
    )
    sitk.WriteImage(sitk.GetImageFromArray(both, isVector=False), str(tmp_path / "four.mha"))
    for path in (one, other, tmp_path / "four.mha"):
        np.testing.assert_array_equal(read_volume(path, phase=number).hu, both[number - 1])
        refused(path, "2 volumes|2 values per voxel")
