"""Which files of a folder belong to the scan: links, unreadable files, and files that only seem to belong."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

from bioatt.core.errors import InputError
from bioatt.io.images import read_volume

posix = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")


@posix
def test_slices_behind_links_are_read_and_loops_end(series, tmp_path):
    hu = series()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for number in (0, 3):
        (series.folder / f"{number:03d}.dcm").rename(elsewhere / f"{number}.dcm")
    (series.folder / "part").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(series.folder)
    os.mkfifo(series.folder / "pipe")
    volume = read_volume(series.folder)
    np.testing.assert_array_equal(volume.hu, hu)
    assert volume.warnings == ()


@posix
def test_a_link_to_nothing_is_named(series):
    series(keep=[0, 1, 3, 4])
    (series.folder / "002.dcm").symlink_to(series.folder / "gone.dcm")
    with pytest.raises(InputError, match=r"002\.dcm is a broken link"):
        read_volume(series.folder)


def test_a_subfolder_that_cannot_be_listed_is_refused(series, monkeypatch):
    """Otherwise half of the scan would silently be left out."""
    series(keep=[0, 1])
    (series.folder / "more").mkdir()
    listed = os.scandir

    def scandir(path):
        if str(path).endswith("more"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match="cannot be read"):
        read_volume(series.folder)


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("PatientID", ("A", "B")),
        ("StudyInstanceUID", ("1.2.3", "1.2.4")),
        ("SeriesNumber", (3, 4)),
        ("ConvolutionKernel", ("B30f", "B70f")),
    ],
)
@pytest.mark.parametrize("uid", ["", "2.25.1"])
def test_images_of_two_scans_are_kept_apart_where_the_series_uid_does_not_tell(series, keyword, values, uid):
    """Careless anonymisers leave it blank or share one; by position alone, these slices would form one volume."""
    constant = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": uid}
    series(**{**constant, keyword: lambda k: values[k % 2]})
    volume = read_volume(series.folder)
    assert volume.shape[0] == 3
    assert any("the longest of 2 CT series" in warning for warning in volume.warnings)


def test_a_slice_without_a_kernel_belongs_to_the_others(series):
    hu = series(ConvolutionKernel=lambda k: "B30f" if k != 2 else "")
    np.testing.assert_array_equal(read_volume(series.folder).hu, hu)


def test_a_slice_that_is_cut_within_its_first_elements_is_not_left_out(series):
    """Even if the cut shortens the SOP class UID to another one."""
    series()
    file = sorted(series.folder.iterdir())[2]
    whole = file.read_bytes()
    for length in range(300, 480, 4):
        file.write_bytes(whole[:length])
        with pytest.raises(InputError, match="truncated"):
            read_volume(series.folder)
