"""Where a derived series goes: existing folders, permissions, links, names, concurrent runs."""

from __future__ import annotations

import os
import stat
import sys

import numpy as np
import pydicom
import pytest

from bioatt.core.errors import InputError
from bioatt.io.dicom import write as dicom
from bioatt.io.dicom.write import check_series_output, write_derived_series
from bioatt.io.files import OccupiedError
from bioatt.io.images import read_volume

MADE = {"model_name": "bioatt", "model_version": "1", "strength": 0.5}
posix = pytest.mark.skipif(sys.platform == "win32", reason="rights and links of POSIX")


@pytest.fixture
def volume(series):
    series()
    return read_volume(series.folder)


@posix
def test_a_folder_that_is_there_stays_the_one_it_is(volume, tmp_path):
    """It may be a mount point or a private folder for patient data."""
    private, link = tmp_path / "private", tmp_path / "link"
    private.mkdir(mode=0o700)
    private.chmod(0o2700)
    before = private.stat()
    link.symlink_to(private)
    write_derived_series(volume, link, **MADE)
    after = private.stat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert link.is_symlink()
    np.testing.assert_array_equal(read_volume(private).hu, volume.hu)
    assert len(list(private.iterdir())) == len(volume.hu), "nothing else is left in it"


@posix
@pytest.mark.parametrize("mask", [0o077, 0o002, 0o022])
def test_a_new_folder_has_the_rights_of_any_other(volume, tmp_path, mask):
    before = os.umask(mask)
    try:
        write_derived_series(volume, tmp_path / "out", **MADE)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o777 & ~mask


@pytest.mark.parametrize("there", [False, True])
def test_what_another_run_wrote_meanwhile_stays(volume, tmp_path, monkeypatch, there):
    out = tmp_path / "out"
    if there:
        out.mkdir()
    verify = dicom._verify

    def slow(*arguments):
        out.mkdir(exist_ok=True)
        (out / "0002.dcm").write_text("another run's")
        verify(*arguments)

    monkeypatch.setattr(dicom, "_verify", slow)
    with pytest.raises(OccupiedError, match="another run created out") as refused:
        write_derived_series(volume, out, **MADE)
    assert [path.name for path in out.iterdir() if path.is_file()] == ["0002.dcm"]
    assert (out / "0002.dcm").read_text() == "another run's"
    (kept,) = (out if there else tmp_path).glob(".bioatt-*")
    assert kept.name in str(refused.value)
    np.testing.assert_array_equal(read_volume(kept).hu, volume.hu)


def test_a_big_endian_source_is_said_to_be_one(series, tmp_path):
    hu = series()
    for path in series.folder.iterdir():
        image = pydicom.dcmread(path)
        stored = image.pixel_array
        image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
        fresh = pydicom.Dataset(image)
        fresh.file_meta = image.file_meta
        fresh.PixelData = stored.astype(">i2").tobytes()
        pydicom.dcmwrite(path, fresh, little_endian=False, implicit_vr=False, enforce_file_format=True)
    volume = read_volume(series.folder)
    np.testing.assert_array_equal(volume.hu, hu)
    with pytest.raises(InputError, match="is big-endian"):
        check_series_output(volume, tmp_path / "out")
