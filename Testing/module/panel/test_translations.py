"""Every text that a user sees is passed to `_()` as a literal, where Slicer's tools find it."""

from __future__ import annotations

import ast
import re

import pytest
from places import MODULE

FILES = [MODULE / "BioAttDenoise.py", *sorted((MODULE / "BioAttDenoiseLib").rglob("*.py"))]
TRANSLATORS = {"_", "translate"}
SHOWN = {
    "text", "toolTip", "title", "suffix", "prefix", "specialValueText", "accessibleName", "windowTitle", "helpText",
    "acknowledgementText", "REFUSAL",
}  # fmt: skip
"""Names and attributes whose values are shown to the user."""
SHOWING = {
    "setText", "setToolTip", "setTitle", "setSuffix", "setFormat", "setHorizontalHeaderLabels", "addItem", "addTab",
    "QTableWidgetItem", "QLabel", "SetTitle", "SetXAxisTitle", "SetYAxisTitle", "SetTitleText", "SetColor",
    "showStatus", "say", "_say", "_searched", "begin", "errorDisplay", "confirmOkCancelDisplay", "hidden_volume",
    "getSaveFileName", "getOpenFileName", "getExistingDirectory", "Number", "_map_volume", "ValueError", "EngineError",
    "RuntimeError", "EngineGoneError", "_write",
}  # fmt: skip
"""Functions whose arguments are shown to the user."""
NAMES = {"BioAttDenoise", "BiomedCLIP", "Slicer", "HU", "dB", "CNR", "vtkMRMLLabelMapVolumeNode"}
NOT_SHOWN = {"bundle.py", "process.py", "signals.py", "layouts.py", "logic.py", "start_worker.py"}
"""Files whose f-strings are for a console, a log, node attributes or XML."""
WORD = re.compile(r"[^\W\d_]{2,}")
FILES_OF = re.compile(r"^((\w+ \(\*\.\w+\)(;;)?)+|\w*\.\w+)$")


def untranslated(node):
    """String constants below a node that contain words and are not passed to a translator."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in TRANSLATORS:
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        text = re.sub(r"<[^>]*>|&\w+;", "", node.value)
        if WORD.search(text) and text.strip() not in NAMES and not FILES_OF.match(text):
            yield node
        return
    if isinstance(node, ast.Call):  # a shown text is built from the method's object and its arguments
        takes_key = getattr(node.func, "id", "") in ("getattr", "hint")
        parts = [node.func.value if isinstance(node.func, ast.Attribute) else None]
        parts += [] if takes_key else [*node.args, *(word.value for word in node.keywords)]
    elif isinstance(node, (ast.Subscript, ast.FormattedValue)):  # without keys and formats
        parts = [node.value]
    elif isinstance(node, ast.IfExp):  # without the condition
        parts = [node.body, node.orelse]
    else:
        parts = [] if isinstance(node, ast.Compare) else list(ast.iter_child_nodes(node))
    for part in parts:
        if part is not None:
            yield from untranslated(part)


def shown(tree):
    """The expressions whose values are shown to the user."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            names = {getattr(target, "attr", getattr(target, "id", "")) for target in node.targets}
            if names & SHOWN:
                yield node.value
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in SHOWING:
                yield from (*node.args[name == "EngineError" :], *(word.value for word in node.keywords))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_is_shown_can_be_translated(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {node.lineno: node.value for expression in shown(tree) for node in untranslated(expression)}
    if path.name not in NOT_SHOWN:  # a translated text combines words and values, not an f-string
        made = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
        found |= {node.lineno: node.value for text in made for node in untranslated(text) if " " in node.value}
    assert found == {}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_is_translated_is_a_literal(path):
    """No text contains guillemets, either."""
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
            assert isinstance(node.args[0], ast.Constant), f"line {node.lineno}"
    assert not set("«»") & set(text)
