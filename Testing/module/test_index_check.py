"""The Extensions Index's criteria are met, and the check reports any that is not."""

from __future__ import annotations

import importlib.util
import json

import pytest
from places import ROOT


@pytest.fixture
def check():
    specification = importlib.util.spec_from_file_location("index_check", ROOT / "Testing" / "index_check.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_every_criterion_is_met(check):
    assert check.unmet() == []


@pytest.mark.parametrize(
    ("changed", "criterion"),
    [
        ({"scm_revision": "main"}, "no revision is named"),
        ({"category": "Denoising"}, "category is one of the index's"),
        ({"author": "me"}, "entry has only keys of the schema"),
        ({"build_dependencies": []}, "dependencies are those of CMake"),
    ],
)
def test_what_is_not_met_is_seen(check, monkeypatch, changed, criterion):
    entry = {**json.loads((ROOT / "BioAttDenoise.json").read_text(encoding="utf-8")), **changed}
    monkeypatch.setattr(check, "_entry", lambda: entry)
    assert criterion in check.unmet()
