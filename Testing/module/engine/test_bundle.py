"""The folder for a computer without internet: one command makes it, and the module installs from it."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest
from places import MODULE

SCRIPT = MODULE / "BioAttDenoiseLib" / "engine" / "bundle.py"


@pytest.fixture
def pip(monkeypatch):
    """The commands passed to pip; each downloads one wheel."""
    calls = []

    def run(command, check):
        calls.append(command)
        folder = command[command.index("--dest") + 1]
        (Path(folder) / "safetensors-1.whl").touch()
        return types.SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    return calls


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "own models"
    (folder / "biomedclip").mkdir(parents=True)
    (folder / "biomedclip" / "weights").write_text("w")
    (folder / "mine.safetensors").write_text("m")
    (folder / ".other.partial").write_text("p")
    (folder / "notes.txt").write_text("n")
    return folder


def test_one_command_makes_the_folder(slicer, pip, models, tmp_path):
    from BioAttDenoiseLib.engine import bundle

    target = tmp_path / "bundle"
    options = ["--biomedclip", "--openvino", "--platform", "win_amd64"]
    assert bundle.main([str(target), "--models", str(models), *options]) == 0
    (command,) = pip
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert command[command.index("--platform") + 1] == "win_amd64"
    assert {"torch>=2.6", "safetensors>=0.4.3", "open_clip_torch>=3.0"} <= set(command)
    assert any(word.startswith("openvino==") for word in command)
    assert sorted(path.name for path in (target / "models").iterdir()) == ["biomedclip", "mine.safetensors"]


def test_the_command_needs_no_slicer(tmp_path):
    run = subprocess.run([sys.executable, "-S", SCRIPT, "--help"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "--biomedclip" in run.stdout


def test_install_from_folder(slicer, scene, make_driver, pip, models, tmp_path, monkeypatch):
    import qt

    from BioAttDenoiseLib.engine import bundle
    from BioAttDenoiseLib.engine.settings import MODELS_FOLDER, set_models_folder

    bundle.main([str(tmp_path / "bundle"), "--models", str(models)])
    set_models_folder(tmp_path / "here")
    installed = []
    monkeypatch.setattr(slicer.util, "pip_install", installed.append)
    chosen = [str(tmp_path), str(tmp_path / "bundle")]
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda parent, title: chosen.pop(0))
    try:
        driver = make_driver()
        driver.ui.advancedCollapsibleButton.collapsed = False
        driver.click(driver.advanced.folderInstallButton)
        assert 'no subfolder "packages"' in driver.status
        assert installed == []
        driver.click(driver.advanced.folderInstallButton)
    finally:
        slicer.app.settings().remove(MODELS_FOLDER)
    (arguments,) = installed
    assert arguments[:3] == ["--no-index", "--find-links", str(tmp_path / "bundle" / "packages")]
    assert arguments[3:] == ["torch>=2.6", "safetensors>=0.4.3"]
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["biomedclip", "mine.safetensors"]
    assert "biomedclip, mine.safetensors" in driver.status


def test_a_folder_installs_the_extras_that_it_holds(slicer, scene, tmp_path, monkeypatch):
    from BioAttDenoiseLib.engine import install

    installed = []
    monkeypatch.setattr(slicer.util, "pip_install", installed.append)
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "openvino_telemetry-2025.2.0-py3-none-any.whl").touch()
    install.install_folder(tmp_path)
    (tmp_path / "packages" / "openvino-2026.4.1-22982-cp312-cp312-win_amd64.whl").touch()
    install.install_folder(tmp_path)
    without, with_it = installed
    assert with_it == [*without, *install.optional(MODULE / "Resources")]


def test_a_failure_of_pip_is_told(slicer, scene, tmp_path, monkeypatch):
    from BioAttDenoiseLib.engine import install
    from BioAttDenoiseLib.engine.errors import EngineError

    (tmp_path / "packages").mkdir()

    def fail(arguments):
        raise RuntimeError("no matching distribution for torch")

    monkeypatch.setattr(slicer.util, "pip_install", fail)
    with pytest.raises(EngineError, match="no matching distribution"):
        install.install_folder(tmp_path)


def test_versions_are_shown(make_driver):
    import bioatt
    from bioatt.inference.models import catalogue, load_model

    driver = make_driver()
    text = driver.advanced.versionsLabel.text
    assert f"BioAttDenoise {bioatt.__version__}" in text
    assert f"engine {bioatt.__version__}" in text
    for entry in catalogue():
        assert f"{entry.name} {load_model(entry.name).metadata['version']}" in text
    assert "torch" in text, "as the engine's process found it"
