"""The extension as CMake builds it: complete lists of files, valid metadata, an installed tree that works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from places import ROOT

STUB = Path(__file__).with_name("slicer_stub")
APT_LINE = "apt-get install -y --no-install-recommends cmake make"


@pytest.fixture(scope="module")
def slicer_program(tmp_path_factory):
    """Stands in for Slicer under ctest: writes its arguments to a log next to itself, one per line."""
    program = tmp_path_factory.mktemp("slicer") / "Slicer"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >> "$0.log"\n')
    program.chmod(0o755)
    return program


@pytest.fixture(scope="module")
def installed(tmp_path_factory, slicer_program):
    """The extension configured and installed against a stub of Slicer's CMake package: (build, qt-scripted-modules)."""
    if shutil.which("cmake") is None or shutil.which("make") is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"cmake or make is missing: {APT_LINE}")
        pytest.skip(f"cmake or make is missing: {APT_LINE}")
    build, prefix = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("install")
    no_compiler = [
        f"-DCMAKE_{c}_{k}" for c in ("C", "CXX") for k in (f"COMPILER={sys.executable}", "COMPILER_FORCED=ON")
    ]
    command = [
        "cmake",
        "-G",
        "Unix Makefiles",
        f"-DSlicer_DIR={STUB}",
        f"-DSlicer_LAUNCHER_EXECUTABLE={slicer_program}",
        f"-DCMAKE_INSTALL_PREFIX={prefix}",
        *no_compiler,
    ]
    for step in ([*command, str(ROOT)], ["cmake", "--build", "."], ["cmake", "--install", "."]):
        run = subprocess.run(step, cwd=build, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr
    return build, prefix / "lib" / "Slicer-5.12" / "qt-scripted-modules"


def test_every_file_is_listed():
    run = subprocess.run([sys.executable, ROOT / "Testing" / "module_files.py"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_metadata():
    """The checks that the Extensions Index runs on every submission (its check_description_files.py)."""
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    name = re.search(r"^project\((\w+)\)", text, re.MULTILINE).group(1)
    assert name == "BioAttDenoise"
    assert not name.lower().startswith("slicer")
    for variable in ("EXTENSION_ICONURL", "EXTENSION_SCREENSHOTURLS", "EXTENSION_HOMEPAGE", "EXTENSION_DESCRIPTION"):
        assert re.search(rf'set\s*\({variable}\s*"([^"]+)"[ ]*\)', text), variable
    assert 'set(EXTENSION_DEPENDS "PyTorch")' in text
    for variable in ("EXTENSION_ICONURL", "EXTENSION_SCREENSHOTURLS"):
        path = re.search(rf'{variable} "https://raw\.githubusercontent\.com/[^/]+/[^/]+/main/([^"]+)"', text).group(1)
        assert (ROOT / path).is_file(), path
    assert (ROOT / "LICENSE.txt").is_file()


def test_the_installed_tree_is_complete(installed):
    _, tree = installed
    found = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}
    for name in (
        "BioAttDenoise.py",
        "BioAttDenoiseLib/panel/panel.py",
        "bioatt/worker/server.py",
        "bioatt/py.typed",
        "Resources/UI/BioAttDenoise.ui",
        "Resources/Icons/BioAttDenoise.png",
        "Resources/requirements.txt",
        "Resources/Models/models.json",
        "Resources/Anatomy/paper17.json",
    ):
        assert name in found, name
    assert not any(name.startswith("..") for name in found)
    assert not any("simulation" in name for name in found), "needs numba, which Slicer does not install"


def test_the_command_line_module_is_installed_where_it_finds_the_engine(installed):
    _, tree = installed
    script = tree.parent / "cli-modules" / "BioAttDenoiseCLI.py"
    assert script.with_suffix(".xml").is_file()
    run = subprocess.run([sys.executable, script, "none.nrrd", "out.nrrd"], capture_output=True, text=True)
    assert "none.nrrd: no such file" in run.stderr


def test_tests_are_registered(installed):
    build, _ = installed
    listed = subprocess.run(["ctest", "-N"], cwd=build, capture_output=True, text=True).stdout
    for name in (
        "py_nomainwindow_qSlicerBioAttDenoiseModuleGenericTest",
        "py_BioAttDenoise",
        "py_BioAttDenoiseOpenPanel",
        "py_BioAttDenoiseCommandLine",
    ):
        assert name in listed


def test_ctest_runs_them_in_slicer_on_what_was_installed(installed, slicer_program):
    build, tree = installed
    run = subprocess.run(["ctest"], cwd=build, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    arguments = slicer_program.with_suffix(".log").read_text().splitlines()
    assert arguments.count(str(tree)) == arguments.count(str(tree.parent / "cli-modules")) == 3
    assert f"slicer.testing.runUnitTest(['{tree}'], 'BioAttDenoise')" in arguments
    for name in ("OpenPanel", "CommandLine"):
        assert str(ROOT / "Testing" / "in_slicer" / f"BioAttDenoise{name}.py") in arguments


def test_the_installed_engine_finds_its_models(installed):
    _, tree = installed
    code = "from bioatt.core.resources import resources_folder; print(resources_folder())"
    run = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(tree)!r}); {code}"],
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == str(tree / "Resources"), run.stderr


@pytest.mark.slow
def test_the_module_runs_from_the_installed_tree(installed, slicer):
    """In a separate process, the panel opens and the installed engine denoises with the packaged weights."""
    _, tree = installed
    script = textwrap.dedent(f"""
        import sys
        sys.path = [p for p in sys.path if not p.startswith({str(ROOT / "BioAttDenoise")!r})]
        sys.path.insert(0, {str(ROOT / "Testing")!r})
        import slicer_runtime
        slicer_runtime.start(main_window=False)
        import numpy as np, slicer
        type(slicer.app).testing = True
        module = slicer_runtime.load_module({str(tree / "BioAttDenoise.py")!r})
        widget = module.widgetRepresentation().self()
        assert {str(tree)!r} in sys.modules["BioAttDenoiseLib"].__file__
        from BioAttDenoiseLib.panel.sections.computing import ComputingSection
        assert widget.panel.section(ComputingSection).ui.modelComboBox.count > 1, "the packaged models are offered"
        hu = np.full((2, 64, 64), -1000, np.int16)
        hu[:, 16:48, 16:48] = np.random.default_rng(0).normal(40, 25, (2, 32, 32))
        node = slicer.util.addVolumeFromArray(hu, name="CT")
        widget.logic.python = sys.executable
        output = widget.logic.denoise(node)
        assert not np.array_equal(slicer.util.arrayFromVolume(output), hu)
        assert len(output.GetAttribute("BioAttDenoise.ModelSHA256")) == 64
        widget.cleanup()
        print("fine")
    """)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=300)
    assert "fine" in run.stdout, run.stdout + run.stderr
