"""File names that ITK misinterprets or cannot handle."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from bioatt.core.errors import InputError
from bioatt.core.volume import Volume
from bioatt.io.images import read_volume, write_volume

LATIN_1 = os.fsdecode(b"M\xfcller")
linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")


@pytest.fixture
def ct():
    return Volume(np.random.default_rng(0).integers(-1000, 1000, (3, 8, 9)).astype(np.int16))


@linux
@pytest.mark.parametrize("kind", [".nrrd", ".nii.gz", "series"])
def test_a_name_that_is_not_utf_8_is_told_where_itk_ends_the_program(ct, series, tmp_path, kind):
    path = tmp_path / f"{LATIN_1}{kind}"
    if kind == "series":
        series(folder=path)
    else:
        write_volume(ct, tmp_path / f"scan{kind}")
        (tmp_path / f"scan{kind}").rename(path)
    program = "import sys, os; from bioatt.cli import main; sys.exit(main([os.fsdecode(a) for a in sys.argv[1:]]))"
    arguments = ["denoise", os.fsencode(path), os.fsencode(tmp_path / "out.nrrd")]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count(b"\n") == 1
    assert b"not UTF-8: rename it" in done.stderr


@linux
def test_an_output_of_such_a_name_is_refused(ct, tmp_path):
    with pytest.raises(InputError, match="not UTF-8"):
        write_volume(ct, tmp_path / f"{LATIN_1}.nrrd")


@pytest.mark.parametrize("name", ["a.MHA", "a.Nii.GZ", "a.NII", "a.Nrrd"])
def test_capitals_in_a_suffix_are_read_and_not_written(ct, tmp_path, name):
    plain = tmp_path / name.lower()
    write_volume(ct, plain)
    plain.rename(tmp_path / name)
    np.testing.assert_array_equal(read_volume(tmp_path / name).hu, ct.hu)
    with pytest.raises(InputError, match=r"need \.[\w.]+ in lower case"):
        write_volume(ct, tmp_path / f"out{name[1:]}")


def test_a_series_is_not_chosen_from_a_file(ct, tmp_path):
    write_volume(ct, tmp_path / "ct.nrrd")
    with pytest.raises(InputError, match="omit the series"):
        read_volume(tmp_path / "ct.nrrd", series=3)


def test_an_empty_name_is_not_the_current_folder():
    with pytest.raises(InputError, match="an empty name"):
        read_volume("")


@pytest.mark.parametrize("kind", [np.float16, np.longdouble])
def test_types_that_files_do_not_have_become_float32(tmp_path, kind):
    volume = Volume(np.linspace(-1000, 1000, 64).reshape(1, 8, 8).astype(kind))
    write_volume(volume, tmp_path / "ct.nrrd")
    again = read_volume(tmp_path / "ct.nrrd")
    assert again.storage == "float32"
    np.testing.assert_array_equal(again.hu, volume.hu)
