"""Files appear as a whole, never mixed with another writer's, and errors give the system's reason and a remedy."""

from __future__ import annotations

import errno
import os
import stat
import sys

import pytest

from bioatt.core.errors import InputError
from bioatt.io.files import OccupiedError, atomic_write, move_new, read_json
from bioatt.io.integrity import data_files
from bioatt.io.outputs import check_file_place, check_free


@pytest.mark.parametrize(
    ("number", "mend"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EACCES, "choose another folder"),
        (errno.EROFS, "choose another folder"),
        (errno.ENAMETOOLONG, "shorter name"),
        (errno.EIO, "choose another folder"),
    ],
)
def test_a_failure_names_reason_and_mend_and_leaves_what_was_there(tmp_path, number, mend):
    path = tmp_path / "report.json"
    path.write_text("yesterday")

    def write():
        with atomic_write(path) as partial:
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
    with atomic_write(path) as first, atomic_write(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first", "the block that ends last"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="rights of POSIX")
def test_others_may_read_what_was_written(tmp_path):
    with atomic_write(tmp_path / "a.json") as partial:
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
    with pytest.raises(InputError, match="already exists"):
        check_file_place(scan)
    check_file_place(scan, overwrite=True)
    with pytest.raises(InputError, match="is a folder"):
        check_file_place(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        check_file_place(tmp_path / "no" / "report.json")
    check_file_place(tmp_path / "report.json", scan, unborn)


HEADERS = {
    "scan.mhd": ("NDims = 3\nElementDataFile = scan.raw\n", ["scan.raw"]),
    "list.mhd": ("NDims = 3\nElementDataFile = LIST 2\na.raw\nb.raw\n", ["a.raw", "b.raw"]),
    "series.mhd": ("ElementDataFile = s%02d.raw 1 2 1\n", ["s01.raw", "s02.raw"]),
    "local.mhd": ("ElementDataFile = LOCAL\n", ["LOCAL"]),
    "scan.nhdr": ("NRRD0004\nsizes: 2 2\ndata file: ./sub/scan.raw.gz\n", ["sub/scan.raw.gz"]),
    "old.nhdr": ("NRRD0004\ndatafile: LIST\na.raw\nb.raw\n", ["a.raw", "b.raw"]),
    "none.nhdr": ("no header at all", []),
    "binary.mhd": ("\0\1\2", []),
}


@pytest.mark.parametrize("name", HEADERS)
def test_the_data_beside_a_header_is_as_safe_as_the_header(tmp_path, name):
    text, files = HEADERS[name]
    header = tmp_path / name
    header.write_bytes(text.encode())
    (tmp_path / "sub").mkdir()
    for file in (*files, "s2.txt", "report.json"):
        (tmp_path / file).write_text("voxels")
    assert sorted(data_files(header)) == sorted(tmp_path / file for file in files)
    for file in files:
        with pytest.raises(InputError, match="already an input or output"):
            check_file_place(tmp_path / file, header, overwrite=True)
    check_file_place(tmp_path / "report.json", header, overwrite=True)


@pytest.mark.parametrize("name", ["missing.mhd", "scan.nrrd", "folder.nhdr"])
def test_what_has_no_data_beside_it(tmp_path, name):
    (tmp_path / "folder.nhdr").mkdir()
    (tmp_path / "scan.nrrd").write_text("data file: other.raw\n")
    assert data_files(tmp_path / name) == []


def test_nothing_is_replaced_that_appeared_meanwhile(tmp_path):
    path = tmp_path / "report.json"

    def write():
        with atomic_write(path, overwrite=False) as partial:
            partial.write_text("mine")
            path.write_text("another run's")

    with pytest.raises(OccupiedError, match=r"another run created .* meanwhile") as refused:
        write()
    kept, there = sorted(tmp_path.iterdir())
    assert kept.name in str(refused.value)
    assert (there, there.read_text(), kept.read_text()) == (path, "another run's", "mine")


@pytest.mark.parametrize("links", [True, False])
def test_a_file_moves_only_to_where_nothing_is(tmp_path, monkeypatch, links):
    if not links:  # as on FAT and some network shares

        def refuse(*_):
            raise OSError(errno.EPERM, "no hard links")

        monkeypatch.setattr(os, "link", refuse)
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("one")
    move_new(one, other)
    assert (one.exists(), other.read_text()) == (False, "one")
    one.write_text("two")
    with pytest.raises(FileExistsError):
        move_new(one, other)
    assert (one.read_text(), other.read_text()) == ("two", "one")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_what_is_no_file_is_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a regular file"):
        check_free(tmp_path / "pipe", overwrite=True)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_overwrite_is_not_advised_where_it_would_not_help(tmp_path):
    os.mkfifo(tmp_path / "out.nrrd")
    with pytest.raises(InputError, match="not a regular file"):
        check_free(tmp_path / "out.nrrd", overwrite=False)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_is_not_waited_for_as_json(tmp_path):
    os.mkfifo(tmp_path / "prior.json")
    with pytest.raises(InputError, match=r"prior file prior\.json is not a regular file"):
        read_json(tmp_path / "prior.json", "prior file")


def test_json_that_is_too_deep_is_refused(tmp_path):
    (tmp_path / "prior.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="is not JSON"):
        read_json(tmp_path / "prior.json", "prior file")
