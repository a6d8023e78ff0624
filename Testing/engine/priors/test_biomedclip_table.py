"""Testing/online/biomedclip.py with the small BiomedCLIP: writes its table once, then reports what has changed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "Testing" / "online" / "biomedclip.py"


@pytest.fixture
def script(build_small, tmp_path, monkeypatch):
    monkeypatch.setenv("BIOATT_BIOMEDCLIP", str(build_small(tmp_path / "small")))
    monkeypatch.setenv("BIOATT_MODELS", str(tmp_path / "models"))
    spec = importlib.util.spec_from_file_location("biomedclip_online", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SEEDS", (1,))
    monkeypatch.setattr(module, "SLICES", 2)
    return module


def test_the_first_call_writes_the_table_and_the_second_agrees_with_it(script, tmp_path, capsys):
    table = tmp_path / "table.json"
    assert script.main(["--table", str(table)]) == 0
    stored = json.loads(table.read_text())
    assert list(stored["p"]) == ["torso 1, slice 0", "torso 1, slice 1"]
    assert sum(stored["p"]["torso 1, slice 0"]) == pytest.approx(1, abs=1e-3)
    assert script.main(["--table", str(table)]) == 0
    assert "p of 2 slices is that of table.json" in capsys.readouterr().out
    stored["p"]["torso 1, slice 1"] = [1.0] + [0.0] * 16
    stored["weights_sha256"] = "0" * 64
    table.write_text(json.dumps(stored))
    assert script.main(["--table", str(table)]) == 1
    said = capsys.readouterr().out
    assert "the table has skull 1.000" in said
    assert "the table's are 000000000000" in said
    assert "slice 0" not in said


def test_a_table_of_other_prompts_or_another_program_is_named(script, tmp_path, capsys):
    table = tmp_path / "table.json"
    assert script.main(["--table", str(table)]) == 0
    table.write_text(json.dumps({**json.loads(table.read_text()), "prompts_sha256": ""}))
    assert script.main(["--table", str(table)]) == 1
    assert "descriptors or their prompts are others" in capsys.readouterr().out
    table.write_text("[]")
    assert script.main(["--table", str(table)]) == 2
    assert "none of this program" in capsys.readouterr().err


def test_without_biomedclip_it_says_how_to_get_it(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BIOATT_BIOMEDCLIP", str(tmp_path / "nowhere"))
    assert script.main(["--table", str(tmp_path / "table.json")]) == 2
    assert "bioatt models download biomedclip" in capsys.readouterr().err
