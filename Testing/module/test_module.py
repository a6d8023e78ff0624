"""What Slicer requires of a module: registration, generic tests, running without a main window, a self test and light
imports.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import pytest
from places import MODULE, ROOT

IN_SLICER = {"numpy", "qt", "ctk", "slicer", "vtk", "PyTorchUtils", "packaging", "BioAttDenoiseLib", "bioatt"}


@pytest.fixture
def no_main_window(slicer, monkeypatch):
    monkeypatch.setattr(slicer.app, "_main_window", False)
    assert slicer.app.layoutManager() is None


def test_generic_requirements(slicer, module, no_main_window, scene):
    """The checks of Slicer's qSlicerModuleGenericTest, run with --no-main-window."""
    assert slicer.modules.bioattdenoise is module
    assert module.name == "BioAttDenoise"
    assert module.title
    assert module.categories
    assert module.categories != [""]
    assert module.contributors
    assert module.acknowledgementText
    assert module.helpText
    assert module.icon is not None
    assert not module.icon.isNull()
    assert module.logic() is module.logic()
    assert module.widgetRepresentation() is module.widgetRepresentation()
    other = slicer.vtkMRMLScene()
    module.setMRMLScene(other)
    module.setMRMLScene(slicer.mrmlScene)
    assert module.mrmlScene() is slicer.mrmlScene
    assert slicer.app.__class__.__name__ == "qSlicerApplication"
    assert module.dependencies == [], "a missing PyTorch extension must not hide the module"
    module.unload()


def test_the_panel_works_without_a_main_window(make_driver, make_ct, slicer, monkeypatch):
    monkeypatch.setattr(slicer.app, "_main_window", False)
    make_ct()
    driver = make_driver()
    driver.behave("steady")
    driver.click(driver.ui.previewButton)
    driver.wait_idle()
    assert driver.panel.live.preview.shown.index == 6, "without views, the middle slice"
    driver.denoise()
    assert "Done" in driver.status


def test_the_self_test_of_the_module_passes(slicer, module, scene, monkeypatch):
    """BioAttDenoiseTest runs in any Slicer: testing mode, offline, without torch."""
    monkeypatch.setattr(type(slicer.app), "testing", True)
    slicer.selfTests["BioAttDenoise"]()


def test_a_reloaded_module_works(module, make_driver, make_ct, slicer, monkeypatch):
    from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget

    driver = make_driver()
    reloaded = []
    monkeypatch.setattr(ScriptedLoadableModuleWidget, "onReload", lambda self: reloaded.append(self), raising=False)
    kept = {name: value for name, value in sys.modules.items() if name.startswith("BioAttDenoiseLib")}
    try:
        driver.python.onReload()
        assert not [name for name in sys.modules if name.startswith("BioAttDenoiseLib")], (
            "the library is imported afresh"
        )
    finally:
        sys.modules.update(kept)
    assert reloaded == [driver.python]


def test_the_module_never_imports_torch(slicer):
    """In Slicer's process, neither opening the panel nor importing any part of the library loads packages that only the
    engine's process may load.
    """
    script = f"""
import sys
sys.path.insert(0, {str(ROOT / "Testing")!r})
import slicer_runtime
slicer_runtime.start(main_window=False)
import slicer
type(slicer.app).testing = True
module = slicer_runtime.load_module({str(MODULE / "BioAttDenoise.py")!r})
module.widgetRepresentation().self().cleanup()
import importlib, pkgutil, BioAttDenoiseLib
for part in pkgutil.iter_modules(BioAttDenoiseLib.__path__):
    importlib.import_module("BioAttDenoiseLib." + part.name)
print(sorted(set(sys.modules) & {{"torch", "safetensors", "numba", "skimage", "open_clip"}}))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ})
    assert run.stdout.strip() == "[]", run.stdout + run.stderr


@pytest.mark.parametrize(
    "path", [*sorted(MODULE.glob("BioAttDenoiseLib/*.py")), MODULE / "BioAttDenoise.py"], ids=lambda p: p.name
)
def test_imports_go_one_way(path):
    """The module imports what Slicer provides, and only those parts of the engine that need no torch (see above)."""
    if path.name == "start_worker.py":
        pytest.skip("runs in the engine's process")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        for name in names:
            top = name.split(".")[0]
            assert top in IN_SLICER or top in sys.stdlib_module_names, f"{path.name} imports {name}"


@pytest.mark.parametrize("translates", [True, False])
def test_an_older_slicer_shows_a_sentence_and_no_error(slicer, monkeypatch, translates):
    """Its Python 3.9 would fail somewhere inside the panel; even older versions have no translations."""
    import slicer_runtime.modules

    monkeypatch.setattr(sys, "version_info", (3, 9, 10))
    if not translates:
        monkeypatch.setitem(sys.modules, "slicer.i18n", None)
    for name in [name for name in sys.modules if name.split(".")[0] in ("BioAttDenoise", "BioAttDenoiseLib")]:
        monkeypatch.delitem(sys.modules, name)
    module = slicer_runtime.modules.ScriptedModule(MODULE / "BioAttDenoise.py")
    assert module.title == "BioAtt Denoise"
    widget = module.createNewWidgetRepresentation()
    import qt

    texts = [label.text for label in widget.findChildren(qt.QLabel)]
    assert texts == ["BioAtt Denoise needs Slicer 5.10 or newer (this one runs Python 3.9). Install a newer Slicer."]
    widget.enter()
    widget.exit()
    widget.self().cleanup()
    with pytest.raises(RuntimeError, match=r"needs Slicer 5\.10"):
        module.python.BioAttDenoiseLogic()
    assert not [name for name in sys.modules if name.startswith("BioAttDenoiseLib")], "nothing of ours is imported"
    widget.release()


def test_the_module_file_has_syntax_of_older_pythons():
    """Slicer 5.8 and earlier run Python 3.9, which must be able to parse the whole file."""
    ast.parse((MODULE / "BioAttDenoise.py").read_text(encoding="utf-8"), feature_version=(3, 9))


def test_a_misspelt_signal_is_noticed(slicer):
    """PythonQt's `connect` returns False instead of raising an error."""
    from BioAttDenoiseLib.signals import connect

    class Button:
        def connect(self, signal, slot):
            return signal == "clicked(bool)"

    connect(Button(), "clicked(bool)", print)
    with pytest.raises(AttributeError, match=r"Button has no signal cliked\(bool\)"):
        connect(Button(), "cliked(bool)", print)


def test_every_signal_is_connected_with_a_check():
    files = [path for path in (MODULE / "BioAttDenoiseLib").rglob("*.py") if path.name != "signals.py"]
    assert [path.name for path in files if ".connect(" in path.read_text(encoding="utf-8")] == []
