"""The snippets in Docs/slicer_scripting.md and Docs/compare.md run as written."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import numpy as np
import pytest
from places import DOCS, MODULE, STAND_IN


def test_the_three_snippets(slicer, module, make_ct, until, tmp_path, monkeypatch, capsys):
    import BioAttDenoise
    from bioatt.core.volume import Volume
    from bioatt.io.images import write_volume
    from BioAttDenoiseLib.engine.options import EngineOptions

    class Logic(BioAttDenoise.BioAttDenoiseLogic):
        def __init__(self):
            super().__init__()
            self.python, self.script = sys.executable, STAND_IN

    monkeypatch.setattr(BioAttDenoise, "BioAttDenoiseLogic", Logic)
    monkeypatch.setattr(EngineOptions, "__init__", _with_model(EngineOptions.__init__))
    make_ct(slices=80)
    (tmp_path / "low").mkdir()
    write_volume(Volume(np.full((2, 16, 16), -1000, np.int16)), tmp_path / "low" / "a.nrrd")
    text = (DOCS / "slicer_scripting.md").read_text(encoding="utf-8").replace("/data/", f"{tmp_path}/")
    first, second, third, *_command_line = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    scope = {"slicer": slicer}
    exec(first, scope)
    assert scope["output"].GetName() == "CT denoised"
    exec(second, scope)
    until(lambda: not scope["logic"].jobs.busy)
    assert "noise 20.0 → 8.0 HU" in capsys.readouterr().out
    exec(third, scope)
    assert [outcome.error for outcome in scope["outcomes"]] == [None]
    assert scope["report"]["counts"] == {"done": 1}


@pytest.mark.parametrize("fails", [False, True], ids=["denoised", "failed"])
def test_the_command_line_module_is_called_as_its_description_says(slicer, make_ct, monkeypatch, capsys, fails):
    """The stand-in for `slicer.cli` accepts only the XML's parameters; as in Slicer, `run` returns at once."""
    root = ElementTree.parse(MODULE / "BioAttDenoiseCLI" / "BioAttDenoiseCLI.xml").getroot()
    known, started = {node.text for node in root.iter("name")}, []

    def end(node):
        node.SetErrorText("no HU" if fails else "")
        node.SetStatus(node.CompletedWithErrors if fails else node.Completed)

    def run(module, node, parameters):
        assert module == "the module"
        assert node is None
        assert set(parameters) <= known
        started.append(slicer.vtkMRMLCommandLineModuleNode())
        return started[-1]

    def run_sync(*arguments):
        end(run(*arguments))
        return started[-1]

    monkeypatch.setattr(slicer, "cli", SimpleNamespace(run=run, runSync=run_sync), raising=False)
    monkeypatch.setattr(slicer.modules, "bioattdenoisecli", "the module", raising=False)
    text = (DOCS / "slicer_scripting.md").read_text(encoding="utf-8")
    waiting, observing = [
        fence for fence in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "slicer.cli" in fence
    ]
    scope = {"slicer": slicer, "volume": make_ct()}
    exec(waiting, scope)
    assert capsys.readouterr().out == ("failed: no HU\n" if fails else "")
    exec(observing, scope)
    assert capsys.readouterr().out == ""
    end(started[-1])
    assert capsys.readouterr().out == ("failed: no HU\n" if fails else "denoised\n")
    started[-1].SetStatus(slicer.vtkMRMLCommandLineModuleNode.Cancelled)
    assert capsys.readouterr().out == "cancelled\n"


def _with_model(init):
    return lambda self, **options: init(self, **{"model": "steady", **options})


def test_the_snippet_of_the_documentation(slicer, story, views, monkeypatch):
    text = (DOCS / "compare.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    own = SimpleNamespace(widgetRepresentation=lambda: story.widget)
    monkeypatch.setattr(slicer.modules, "bioattdenoise", own, raising=False)
    scope = {"slicer": slicer}
    exec(snippet, scope)
    assert scope["seen"].comparison.active
    assert not scope["found"].alarm
    with pytest.raises(ValueError, match="no attention maps yet"):
        scope["seen"].overlay.show("last", "liver", "raw", [])
    story.click(story.sections["AttentionSection"].ui.withDenoisingCheckBox)
    story.choose(story.sections["AttentionSection"].ui.organsComboBox, "All")
    story.denoise()
    exec(snippet, scope)
    assert scope["seen"].overlay.shown == ("last", "liver", "contrast")
