"""Slicer's command-line module: its XML matches the script, and it runs as Slicer calls it."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from places import ROOT

FOLDER = ROOT / "BioAttDenoise" / "BioAttDenoiseCLI"
SCRIPT = FOLDER / "BioAttDenoiseCLI.py"


@pytest.fixture
def scan(tmp_path):
    from bioatt.core.volume import Volume
    from bioatt.io.images import write_volume

    hu = np.full((3, 160, 160), -1000, np.int16)
    hu[:, 8:-8, 8:-8] = np.random.default_rng(0).normal(40, 25, (3, 144, 144))
    write_volume(Volume(hu), tmp_path / "in.nrrd")
    return tmp_path / "in.nrrd"


def run(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, timeout=200)


def test_the_description_is_what_the_script_takes():
    root = ElementTree.parse(FOLDER / "BioAttDenoiseCLI.xml").getroot()
    flags = {node.text for node in root.iter("longflag")}
    assert flags == {"strength", "model", "organ-strength", "device"}
    help_text = run("--help").stdout
    assert all(f"--{flag}" in help_text for flag in flags)
    places = {image.findtext("channel"): image.findtext("index") for image in root.iter("image")}
    assert places == {"input": "0", "output": "1"}
    from bioatt.core.strength import DEFAULT_STRENGTH

    assert float(root.find(".//double/default").text) == DEFAULT_STRENGTH


def test_the_models_are_those_that_ship():
    import json

    root = ElementTree.parse(FOLDER / "BioAttDenoiseCLI.xml").getroot()
    model = next(node for node in root.iter("string-enumeration") if node.findtext("name") == "model")
    shipped = json.loads((ROOT / "Resources" / "Models" / "models.json").read_text(encoding="utf-8"))["models"]
    assert [element.text for element in model.iter("element")] == ["auto", *(line["name"] for line in shipped)]


@pytest.mark.slow
def test_a_run_as_slicer_makes_it(scan, tmp_path):
    from bioatt.io.images import read_volume

    done = run("--strength", "0.5", "--model", "bioatt-fast", "--device", "cpu", scan, tmp_path / "out.nrrd")
    assert done.returncode == 0, done.stderr
    assert "<filter-progress>1.000</filter-progress>" in done.stdout
    before, after = read_volume(scan), read_volume(tmp_path / "out.nrrd")
    assert after.hu[:, 48:-48, 48:-48].std() < 0.8 * before.hu[:, 48:-48, 48:-48].std()


def test_what_cannot_be_denoised_is_one_line(tmp_path):
    done = run(tmp_path / "missing.nrrd", tmp_path / "out.nrrd")
    assert done.returncode == 1
    assert "missing.nrrd" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_engine_it_says_so(tmp_path):
    alone = tmp_path / "cli-modules" / SCRIPT.name
    alone.parent.mkdir()
    alone.write_bytes(SCRIPT.read_bytes())
    command = [sys.executable, "-S", "-E", alone, "in.nrrd", "out.nrrd"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "install the extension" in done.stderr
