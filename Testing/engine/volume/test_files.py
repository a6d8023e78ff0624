"""Files appear whole under names of their own, and a failure says the system's reason and what mends it."""

from __future__ import annotations

import errno
import os
import stat
import sys

import pytest

from bioatt.errors import InputError
from bioatt.outputs import appearing_whole, check_file_place


@pytest.mark.parametrize(
    ("number", "mend"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EACCES, "choose another folder"),
        (errno.EROFS, "choose another folder"),
        (errno.ENAMETOOLONG, "shorter name"),
        (errno.EIO, "choose another place"),
    ],
)
def test_a_failure_names_reason_and_mend_and_leaves_what_was_there(tmp_path, number, mend):
    path = tmp_path / "report.json"
    path.write_text("yesterday")

    def write():
        with appearing_whole(path) as partial:
            partial.write_text("half")
            raise OSError(number, os.strerror(number))

    with pytest.raises(InputError, match=mend) as error:
        write()
    assert os.strerror(number) in str(error.value)
    assert ("space and" in str(error.value)) == (number == errno.ENOSPC)
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]
    assert path.read_text() == "yesterday"


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "report.json"
    with appearing_whole(path) as first, appearing_whole(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first", "the block that ends last"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="rights of POSIX")
def test_others_may_read_what_was_written(tmp_path):
    with appearing_whole(tmp_path / "a.json") as partial:
        partial.write_text("{}")
    (tmp_path / "b.json").write_text("{}")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.json", "b.json")}
    assert len(modes) == 1


def test_a_place_that_is_taken(tmp_path):
    scan = tmp_path / "scan.nrrd"
    scan.touch()
    (tmp_path / "link.json").symlink_to(scan)
    os.link(scan, tmp_path / "hard.json")
    unborn = tmp_path / "out.nrrd"
    for path in (scan, tmp_path / "link.json", tmp_path / "hard.json", unborn, tmp_path / "." / "out.nrrd"):
        with pytest.raises(InputError, match="already an input or output"):
            check_file_place(path, scan, unborn)
    with pytest.raises(InputError, match="is a folder"):
        check_file_place(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        check_file_place(tmp_path / "no" / "report.json")
    check_file_place(tmp_path / "report.json", scan, unborn)
