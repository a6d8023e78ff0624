"""Volumes survive a round trip through files: exact voxels, geometry to 1e-6, same type, and nothing half-written."""

from __future__ import annotations

import gzip
import itertools
import struct
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from Testing.engine.io.conftest import ct_like

from bioatt.core.canonical import canonical
from bioatt.core.errors import InputError
from bioatt.core.provenance import DENOISED
from bioatt.core.volume import Acquisition, Volume
from bioatt.io.images import check_output, read_acquisition, read_volume, write_volume

FORMATS = [".nrrd", ".nii", ".nii.gz", ".mha"]
ORIENTATIONS = [
    np.eye(3)[:, list(order)] * signs
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1.0, -1.0), repeat=3)
]


def ct(dtype="int16", shape=(3, 8, 9), seed=0) -> np.ndarray:
    hu = np.random.default_rng(seed).integers(-1024, 3500, shape).astype(dtype)
    hu[0, 0, :2] = -3024, 30_000
    return hu


@pytest.mark.parametrize("suffix", FORMATS)
@given(
    direction=st.sampled_from(ORIENTATIONS),
    tilt=st.floats(-25, 25),
    spacing=st.tuples(*[st.floats(0.2, 8)] * 3),
    origin=st.tuples(*[st.floats(-400, 400)] * 3),
    dtype=st.sampled_from(["int16", "int32", "float32", "float64"]),
)
@settings(max_examples=25, deadline=None)
def test_round_trip(suffix, direction, tilt, spacing, origin, dtype):
    a, b = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    rotated = np.array([[1, 0, 0], [0, a, -b], [0, b, a]]) @ direction
    volume = Volume(ct(dtype), spacing, origin, rotated)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ct" + suffix)
        write_volume(volume, path)
        again = read_volume(path)
        assert list(Path(folder).iterdir()) == [path]
    np.testing.assert_array_equal(again.hu, volume.hu)
    assert (again.hu.dtype, again.storage) == (volume.hu.dtype, dtype)
    # NIfTI stores its geometry as float32, hence 1e-6 of its largest length.
    scale = max(1.0, float(np.abs(volume.ijk_to_lps).max())) if suffix.startswith(".nii") else 1.0
    np.testing.assert_allclose(again.ijk_to_lps, volume.ijk_to_lps, atol=1e-6 * scale)
    assert again.slice_ids == volume.slice_ids


@pytest.mark.parametrize("suffix", FORMATS)
def test_denoised_result_keeps_type_padding_and_geometry(tmp_path, suffix):
    sitk.WriteImage(sitk.GetImageFromArray(ct()), str(tmp_path / f"in{suffix}"))
    volume = read_volume(tmp_path / f"in{suffix}")
    prepared = canonical(volume)
    write_volume(volume.with_hu(prepared.undo(prepared.volume.hu + 0.3)), tmp_path / f"out{suffix}")
    image = sitk.ReadImage(str(tmp_path / f"out{suffix}"))
    assert image.GetPixelIDValue() == sitk.sitkInt16
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), ct())


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("dtype", ["uint16", "uint32", "int64"])
def test_other_integer_types_come_back_as_they_were(tmp_path, suffix, dtype):
    labels = np.random.default_rng(0).integers(0, 120, (2, 4, 4)).astype(dtype)
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(tmp_path / f"in{suffix}"))
    write_volume(read_volume(tmp_path / f"in{suffix}", hu=False), tmp_path / f"out{suffix}")
    again = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"out{suffix}")))
    assert again.dtype == dtype
    np.testing.assert_array_equal(again, labels)


def test_ras_nrrd_and_negative_directions(tmp_path):
    """In Slicer's RAS, x points right and y to the front, opposite to LPS."""
    hu = ct(shape=(2, 3, 4))
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: right-anterior-superior\nsizes: 4 3 2\n"
        "space directions: (0.5,0,0) (0,0.6,0) (0,0,-2)\nspace origin: (10,20,30)\nendian: little\nencoding: raw\n\n"
    )
    (tmp_path / "ras.nrrd").write_bytes(header.encode() + hu.astype("<i2").tobytes())
    volume = read_volume(tmp_path / "ras.nrrd")
    np.testing.assert_allclose(volume.ijk_to_ras @ [3, 2, 1, 1], [11.5, 21.2, 28, 1], atol=1e-6)
    straight = canonical(volume).volume
    np.testing.assert_array_equal(straight.hu, np.where(hu < -1500, -1000, hu)[::-1, ::-1, ::-1])


def test_scaled_nifti_is_read_as_whole_hu(tmp_path):
    """scl_slope and scl_inter, which other tools use for unsigned storage."""
    stored = (ct(shape=(2, 5, 6)).clip(-1024) + 1024).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(stored), str(tmp_path / "ct.nii"))
    content = bytearray((tmp_path / "ct.nii").read_bytes())
    content[112:120] = struct.pack("<ff", 1, -1024)
    (tmp_path / "ct.nii").write_bytes(content)
    volume = read_volume(tmp_path / "ct.nii")
    assert (volume.hu.dtype, volume.storage) == (np.dtype(np.int16), "int16")
    np.testing.assert_array_equal(volume.hu, stored - 1024)


@pytest.mark.parametrize("suffix", FORMATS)
def test_single_slice_in_two_or_three_dimensions(tmp_path, suffix):
    hu = ct(shape=(1, 8, 9))
    sitk.WriteImage(sitk.GetImageFromArray(hu[0]), str(tmp_path / f"flat{suffix}"))
    flat = read_volume(tmp_path / f"flat{suffix}")
    assert flat.shape == (1, 8, 9)
    write_volume(flat, tmp_path / f"thin{suffix}")
    assert read_volume(tmp_path / f"thin{suffix}").slice_ids == flat.slice_ids == Volume(hu).slice_ids


@pytest.mark.parametrize("suffix", FORMATS)
def test_acquisition_travels_and_nothing_personal_does(tmp_path, suffix):
    image = sitk.GetImageFromArray(ct())
    for key, value in {
        "0010|0010": "Secret^Person",
        "0018|1210": "B30f\\2",
        "0018|0050": "3",
        "0018|0060": "120",
    }.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(tmp_path / "in.nrrd"))
    volume = read_volume(tmp_path / "in.nrrd")
    assert volume.acquisition == Acquisition("B30f", 3.0, 120.0, None)
    out = tmp_path / f"out{suffix}"
    write_volume(volume, out, note="denoised; research use only")
    assert read_volume(out).acquisition == volume.acquisition
    content = gzip.decompress(out.read_bytes()) if suffix == ".nii.gz" else out.read_bytes()
    assert b"Secret" not in content
    assert b"research use only" in content


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_gantry_tilt_survives_where_the_format_holds_it(tmp_path, suffix):
    sheared = np.array([[1, 0, 0], [0, np.cos(0.3), 0], [0, np.sin(0.3), 1]])
    volume = Volume(ct(), (0.7, 0.7, 5), (1, 2, 3), sheared)
    write_volume(volume, tmp_path / f"tilt{suffix}")
    again = read_volume(tmp_path / f"tilt{suffix}")
    np.testing.assert_allclose(again.ijk_to_lps, volume.ijk_to_lps, atol=1e-6)
    assert "gantry" in again.warnings[0]
    with pytest.raises(InputError, match="shear"):
        write_volume(volume, tmp_path / "tilt.nii.gz")


def test_refused_outputs(tmp_path, monkeypatch):
    volume = Volume(ct())
    write_volume(volume, tmp_path / "in.nrrd")
    volume = read_volume(tmp_path / "in.nrrd")
    before = (tmp_path / "in.nrrd").read_bytes()
    (tmp_path / "link.nrrd").symlink_to(tmp_path / "in.nrrd")
    (tmp_path / "folder.nrrd").mkdir()
    uneven = Volume(ct(), even=False)
    for path, source, match in (
        (tmp_path / "in.nrrd", volume, "input itself"),
        (tmp_path / "link.nrrd", volume, "input itself"),
        (tmp_path / "out.png", volume, "is not a volume format"),
        (tmp_path / "out", volume, "is not a volume format"),
        (tmp_path / "folder.nrrd", volume, "is not a volume format"),
        (tmp_path / "no" / "out.nrrd", volume, "folder no does not exist"),
        (tmp_path / "in.nrrd" / "out.nrrd", volume, "does not exist"),
        (tmp_path / "out.nrrd", uneven, "only DICOM can represent"),
    ):
        with pytest.raises(InputError, match=match):
            write_volume(source, path)
    assert (tmp_path / "in.nrrd").read_bytes() == before

    def denied(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", denied)
    with pytest.raises(InputError, match=r"is not writable \(Permission denied\)"):
        check_output(volume, tmp_path / "out.nrrd")


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
@pytest.mark.parametrize("suffix", FORMATS)
def test_full_disk_keeps_what_was_there(tmp_path, suffix, small_files_only):
    out = tmp_path / f"out{suffix}"
    out.write_bytes(b"the result of yesterday")
    with small_files_only(20_000), pytest.raises(InputError, match="could not be written"):
        write_volume(Volume(ct(shape=(8, 64, 64))), out)
    assert out.read_bytes() == b"the result of yesterday"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(("name", "beside"), [("ct.nii.gz", "ct.nii"), ("ct.nii", "ct.nii.gz")])
@pytest.mark.parametrize("links", [True, False])
def test_a_neighbour_of_the_same_stem_is_not_read_instead(tmp_path, monkeypatch, name, beside, links):
    """ITK would read the voxels of ct.nii for ct.nii.gz: another scan, perhaps of another patient."""
    if not links:
        monkeypatch.setattr(Path, "symlink_to", _no_links)
    mine, other = Volume(ct(seed=1)), Volume(ct("float32", seed=2))
    write_volume(mine, tmp_path / name)
    write_volume(other, tmp_path / beside)
    np.testing.assert_array_equal(read_volume(tmp_path / name).hu, mine.hu)
    assert read_volume(tmp_path / name).sources == (tmp_path / name,)


def _no_links(*_: object) -> None:
    raise OSError


@pytest.mark.parametrize("key", ["PT", "MR", "CT", None])
def test_an_nrrd_that_says_it_is_no_ct_is_refused(tmp_path, key):
    image = sitk.GetImageFromArray(ct_like())
    if key:
        image.SetMetaData("0008|0060", key)
    judged(tmp_path / "scan.nrrd", image, key)


@pytest.mark.parametrize("key", ["MR", "NM", "CT", "OTHER"])
def test_a_meta_image_that_says_it_is_no_ct_is_refused(tmp_path, key):
    path = tmp_path / "scan.mha"
    sitk.WriteImage(sitk.GetImageFromArray(ct_like()), str(path))
    path.write_bytes(path.read_bytes().replace(b"ElementType", f"Modality = MET_MOD_{key}\nElementType".encode()))
    judged(path, None, None if key == "OTHER" else key)


def judged(path, image, key):
    if image is not None:
        sitk.WriteImage(image, str(path))
    if key in ("CT", None):
        read_volume(path)
    else:
        with pytest.raises(InputError, match=f"modality {key}"):
            read_volume(path)
    assert read_volume(path, hu=False).shape == (5, 24, 20)


@pytest.mark.parametrize(("kernel", "told"), [("I30f", True), ("B30f", False)])
@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
def test_a_kernel_that_removes_noise_is_told_from_a_file_too(tmp_path, kernel, told, suffix):
    volume = Volume(ct_like(), acquisition=Acquisition(kernel=kernel))
    write_volume(volume, tmp_path / f"scan{suffix}")
    assert any("(SAFIRE)" in line for line in read_volume(tmp_path / f"scan{suffix}").warnings) is told
    write_volume(volume, tmp_path / f"again{suffix}", note=DENOISED)
    assert not any("(SAFIRE)" in line for line in read_volume(tmp_path / f"again{suffix}").warnings)


@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".nii.gz", ".mha"])
def test_a_header_alone_tells_of_the_scan_what_the_whole_file_tells(tmp_path, suffix):
    scan = Volume(np.zeros((2, 3, 4), np.int16) - 1000, acquisition=Acquisition("B30f", 3.0, 120.0, "CT"))
    write_volume(scan, tmp_path / f"scan{suffix}", note="a note")
    assert read_acquisition(tmp_path / f"scan{suffix}") == scan.acquisition
    write_volume(replace(scan, acquisition=Acquisition()), tmp_path / f"bare{suffix}")
    assert read_acquisition(tmp_path / f"bare{suffix}") == Acquisition()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.mha", b"NDims = -1\n0018|1210 = B30f\nModality = MET_MOD_MR\nElementDataFile = LOCAL\n", ("B30f", "MR")),
        ("a.nrrd", b"NRRD0004\ndimension: 99\n0018|1210:=B30f\n0008|0060:=CT\n\n0018|1210:=B70f\n", ("B30f", "CT")),
        ("a.nii.gz", b"\x1f\x8bno gzip", (None, None)),
        ("a.nii", b"", (None, None)),
    ],
)
def test_headers_that_itk_ends_the_program_over_are_read_alone(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    found = read_acquisition(tmp_path / name)
    assert (found.kernel, found.modality) == told
