"""The snippets of Docs/slicer_scripting.md and Docs/compare.md run as they are written."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from places import DOCS, STAND_IN


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
    first, second, third = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    scope = {"slicer": slicer}
    exec(first, scope)
    assert scope["output"].GetName() == "CT denoised"
    exec(second, scope)
    until(lambda: not scope["logic"].jobs.busy)
    assert "noise 20.0 → 8.0 HU" in capsys.readouterr().out
    exec(third, scope)
    assert [outcome.error for outcome in scope["outcomes"]] == [None]
    assert scope["report"]["counts"] == {"done": 1}


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
