"""TotalSegmentator as a source of anatomy, with a stand-in for the program."""

from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bioatt.anatomy.sources import label_volume, organs_of
from bioatt.core.errors import Cancelled, InputError
from bioatt.core.volume import Volume
from bioatt.priors.anatomy import build_anatomy

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-in is a script with a shebang")
STAND_IN = """#!{python}
import json, os, sys, time
from pathlib import Path
import SimpleITK as sitk

options = sys.argv[1:]
assert {{"--ml", "--fast"}} <= set(options)
settings = json.loads((Path(os.environ["TOTALSEG_HOME_DIR"]) / "config.json").read_text())
assert settings["send_usage_stats"] is False
assert os.environ["TOTALSEG_WEIGHTS_PATH"].endswith("results")
{body}
scan = sitk.ReadImage(options[options.index("-i") + 1])
labels = sitk.Cast(scan > 50, sitk.sitkUInt8) * 5  # liver in the task "total"
sitk.WriteImage(labels, options[options.index("-o") + 1])
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """install(body) puts the stand-in on PATH; body: lines that it runs before it segments."""

    def put(body: str = "") -> None:
        program = tmp_path / "bin" / "TotalSegmentator"
        program.parent.mkdir(exist_ok=True)
        program.write_text(STAND_IN.format(python=sys.executable, body=body))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)

    return put


def scan() -> Volume:
    """A brighter box in water, in 3 mm slices, tilted in space."""
    hu = np.zeros((6, 48, 64), np.int16)
    hu[1:5, 10:30, 20:50] = 100
    angle = np.radians(12)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return Volume(hu, spacing=(1.5, 1.5, 3.0), direction=turn, origin=(-40.0, 12.0, 7.0))


def test_its_labels_lie_on_the_scan_under_our_names(install):
    install()
    volume = scan()
    labels = label_volume(organs_of(build_anatomy("totalsegmentator"), volume, volume), volume)
    np.testing.assert_array_equal(labels > 0, volume.hu > 50)


def test_a_failure_is_told_with_its_last_line(install):
    install("print('not enough memory'); sys.exit(3)")
    with pytest.raises(InputError, match="not enough memory"):
        build_anatomy("totalsegmentator").maps(scan())


def test_it_can_be_cancelled(install):
    install("time.sleep(60)")
    start = time.monotonic()
    with pytest.raises(Cancelled):
        build_anatomy("totalsegmentator").maps(scan(), cancelled=lambda: time.monotonic() - start > 0.3)
    assert time.monotonic() - start < 20


def test_without_the_program_the_message_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="pip install TotalSegmentator"):
        build_anatomy("totalsegmentator")


def test_nothing_of_the_scan_stays_behind(install, tmp_path, monkeypatch):
    install()
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    build_anatomy("totalsegmentator").maps(scan())
    assert not [*Path(place).iterdir()]
