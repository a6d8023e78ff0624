"""The snippet of Docs/compare.md runs as it is written."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest


def test_the_snippet_of_the_documentation(slicer, story, views, monkeypatch):
    text = (Path(__file__).parents[3] / "Docs" / "compare.md").read_text(encoding="utf-8")
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
