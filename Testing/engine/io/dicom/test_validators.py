"""The derived series checked by independent programs: dicom3tools (dciodvfy, dcentvfy) and DCMTK (dcmconv)."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest

from bioatt.io.dicom.write import write_derived_series
from bioatt.io.images import read_volume

COMPLETE = {
    "PatientBirthDate": "", "PatientSex": "O", "ReferringPhysicianName": "", "StudyID": "1", "Laterality": "",
    "PatientPosition": "HFS", "PositionReferenceIndicator": "", "Manufacturer": "Maker", "AcquisitionNumber": 1,
}  # fmt: skip
"""Elements that PS3.3 A.3 requires of a CT image but the tests' series lacks."""


def errors(program: str, *files: Path) -> Counter[str]:
    """Count a validator's error lines. Skips the test if it is not installed."""
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}: apt install dicom3tools")
    said = subprocess.run([program, *map(str, files)], capture_output=True, text=True, errors="replace", check=False)
    return Counter(line.strip() for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error"))


@pytest.fixture
def pair(series, tmp_path):
    """Write a source and the series derived from it; returns the sorted files of both."""

    def make(**elements):
        series(**elements)
        volume = read_volume(series.folder)
        write_derived_series(
            volume.with_hu(volume.hu.astype(np.float32) - 3),
            tmp_path / "out",
            model_name="bioatt",
            model_version="1",
            strength=0.5,
            organ_strength={"lungs": 0.25},
        )
        return sorted(volume.sources), sorted((tmp_path / "out").iterdir())

    return make


def test_dciodvfy_finds_no_error_in_what_is_derived_from_a_complete_series(pair):
    source, derived = pair(**COMPLETE)
    assert errors("dciodvfy", source[0]) == {}
    assert [errors("dciodvfy", file) for file in derived] == [Counter()] * len(derived)


def test_dciodvfy_finds_no_error_beyond_those_of_an_incomplete_source(pair):
    source, derived = pair()
    before = errors("dciodvfy", source[0])
    assert before
    assert all(errors("dciodvfy", file) <= before for file in derived)


def test_dcentvfy_finds_patient_study_and_series_consistent_with_the_source(pair):
    source, derived = pair(**COMPLETE)
    assert errors("dcentvfy", *source, *derived) == {}


def test_dcmtk_reads_and_rewrites_every_image_without_a_word(pair, tmp_path):
    if shutil.which("dcmconv") is None:
        pytest.skip("needs dcmconv: apt install dcmtk")
    _, derived = pair(**COMPLETE)
    for file in derived:
        copy = tmp_path / f"copy-{file.name}"
        said = subprocess.run(["dcmconv", "+te", file, copy], capture_output=True, text=True, check=False)
        assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
        assert pydicom.dcmread(copy).PixelData == pydicom.dcmread(file).PixelData


def test_a_deidentified_series_stays_so(pair, tmp_path):
    blank = {"PatientName": "Anonymous", "PatientID": "X1", "StudyDate": "", "AccessionNumber": ""}
    source, derived = pair(**blank, PatientIdentityRemoved="YES")
    image, original = pydicom.dcmread(derived[0]), pydicom.dcmread(source[0])
    for group in (0x0010, 0x0012):
        assert image.group_dataset(group) == original.group_dataset(group)
    said = str(image)
    places = (getpass.getuser() if getpass.getuser() != "root" else "", socket.gethostname(), str(tmp_path))
    assert not [place for place in places if place and place in said]
