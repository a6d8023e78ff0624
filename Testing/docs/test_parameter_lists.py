"""The documentation site shows the parameters of a docstring as a list, one item per parameter."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("griffe", reason="needs the extra docs")
PATH = Path(__file__).parents[2] / "Docs" / "site" / "parameter_lists.py"


def test_parameters_become_a_list():
    spec = importlib.util.spec_from_file_location("parameter_lists", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    entries = "hu: (z, y, x) in HU,\nany type. window: too.\ny, x: pixels\nnote: no parameter\n"
    text = f"What it does.\n\n{entries}Raises InputError."
    assert module.as_list(text, {"hu", "y", "x"}).splitlines() == [
        "What it does.",
        "",
        "- **`hu`**: (z, y, x) in HU,",
        "  any type. window: too.",
        "- **`y, x`**: pixels",
        "  note: no parameter",
        "",
        "Raises InputError.",
    ]
