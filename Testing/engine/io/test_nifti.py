"""NIfTI read as by nibabel: sform before qform, shear refused whatever the qform, and no invented orientation."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from bioatt.core.errors import InputError
from bioatt.io.images import read_volume, write_volume

HU = np.random.default_rng(0).integers(-1024, 1500, (4, 24, 20)).astype("<i2")
SFORM = np.array([[-0.8, 0, 0, 100], [0, -0.8, 0, 100], [0, 0, 5, -50.0]])
QFORM = (0.0, 0.0, 1.0, 100.0, 100.0, -50.0)  # the same geometry: a half turn about z


def nifti(path, sform=SFORM, codes=(1, 1), qform=QFORM, hu=HU, units=2, slope=(1, 0)):
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    dims = hu.shape[::-1]
    struct.pack_into("<8h", header, 40, len(dims), *dims, *[1] * (7 - len(dims)))
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, 1, 0.8, 0.8, 5, 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, 352, *slope)
    header[123] = units
    struct.pack_into("<2h", header, 252, *codes)
    struct.pack_into("<6f", header, 256, *qform)
    struct.pack_into("<12f", header, 280, *np.ravel(sform))
    header[344:348] = b"n+1\0"
    content = bytes(header) + hu.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def sheared(amount):
    form = SFORM.copy()
    form[1, 2] = 5 * amount
    return form


def codes_in(path):
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return struct.unpack_from("<2h", content, 252)


@pytest.mark.parametrize("codes", [(0, 1), (1, 0), (1, 1), (0, 2)])
def test_either_form_alone_or_both_alike_place_the_voxels(tmp_path, codes):
    volume = read_volume(nifti(tmp_path / "ct.nii", codes=codes))
    np.testing.assert_allclose(volume.ijk_to_ras[:3], SFORM, atol=1e-5)
    np.testing.assert_array_equal(volume.hu, HU)
    assert volume.warnings == ()


def test_forms_that_differ_are_told_and_the_sform_is_taken(tmp_path):
    path = nifti(tmp_path / "ct.nii", codes=(1, 2), qform=(0, 0, 0, 100, 100, 250))
    volume = read_volume(path)
    np.testing.assert_allclose(volume.ijk_to_ras[:3], SFORM, atol=1e-5)
    assert any("sform and qform differ" in line and "sform is used" in line for line in volume.warnings)
    write_volume(volume, tmp_path / "out.nii.gz")
    np.testing.assert_allclose(read_volume(tmp_path / "out.nii.gz").ijk_to_ras[:3], SFORM, atol=1e-4)


@pytest.mark.parametrize("qcode", [0, 1])
def test_shear_is_refused_whatever_the_qform_says(tmp_path, qcode):
    with pytest.raises(InputError, match="sheared axes"):
        read_volume(nifti(tmp_path / "ct.nii", sform=sheared(0.3346), codes=(qcode, 1)))


def test_shear_within_rounding_is_none(tmp_path):
    volume = read_volume(nifti(tmp_path / "ct.nii", sform=sheared(1e-4), codes=(0, 1)))
    np.testing.assert_allclose(volume.ijk_to_ras[:3], sheared(1e-4), atol=1e-3)
    write_volume(volume, tmp_path / "out.nii.gz")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_an_unknown_orientation_is_told_and_stays_unknown(tmp_path, suffix):
    volume = read_volume(nifti(tmp_path / f"ct{suffix}", codes=(0, 0)))
    assert any("no orientation" in line for line in volume.warnings)
    np.testing.assert_allclose(volume.ijk_to_ras @ [9.5, 11.5, 1.5, 1], [0, 0, 0, 1], atol=1e-5)
    out = tmp_path / f"out{suffix}"
    write_volume(volume, out)
    assert codes_in(out) == (0, 0)
    again = read_volume(out)
    np.testing.assert_allclose(again.ijk_to_ras, volume.ijk_to_ras, atol=1e-5)
    np.testing.assert_array_equal(again.hu, HU)
    part = tmp_path / f"known{suffix}"
    write_volume(read_volume(nifti(tmp_path / f"in{suffix}")), part)
    assert min(codes_in(part)) > 0


def test_micrometres_and_metres_are_millimetres(tmp_path):
    volume = read_volume(nifti(tmp_path / "ct.nii", units=3, sform=SFORM * 1000, codes=(0, 1)))
    np.testing.assert_allclose(volume.spacing, (0.8, 0.8, 5), rtol=1e-5)


@pytest.mark.parametrize("number", [1, 2])
def test_one_of_several_volumes_is_chosen_by_number(tmp_path, number):
    path = nifti(tmp_path / "ct.nii.gz", hu=np.stack([HU, HU[::-1]]))
    with pytest.raises(InputError, match=r"2 volumes.*--phase 1 to 2"):
        read_volume(path)
    np.testing.assert_array_equal(read_volume(path, phase=number).hu, [HU, HU[::-1]][number - 1])
    with pytest.raises(InputError, match="no volume 3"):
        read_volume(path, phase=3)


@pytest.mark.parametrize(
    ("sform", "said"), [(SFORM * np.nan, "NaN"), (SFORM * 0, "NaN"), (SFORM * 1e6, "implausible for CT")]
)
def test_a_geometry_that_is_none_is_refused(tmp_path, sform, said):
    with pytest.raises(InputError, match=said):
        read_volume(nifti(tmp_path / "ct.nii", sform=sform, codes=(0, 1)))
