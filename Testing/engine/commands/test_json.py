"""With `--json`, every command prints one JSON document and nothing else to standard output."""

from __future__ import annotations

import json

import pytest

from bioatt.cli import COMMANDS, main
from bioatt.io.integrity import content_sha256

CALLS = {
    "denoise": ("denoise SCAN OUT MODEL --json", "output"),
    "inspect": ("inspect SCAN --json", "kernel"),
    "organs": ("organs SCAN --json -", "organs"),
    "prior": ("prior SCAN --source uniform --json -", "probabilities"),
    "attention": ("attention SCAN MAPS MODEL --json", "maps"),
    "evaluate": ("evaluate SCAN SCAN --json -", "output"),
    "batch": ("batch SCAN RESULTS --rules RULES --device cpu --json", "scans"),
    "models": ("models --json", None),
    "demo": ("demo DEMO MODEL --slices 1 --size 64 --json", "demo"),
}


def test_every_command_is_here_but_those_that_need_a_peer():
    """`node status --json`, `mercure --json`, `bench` and `physics` have their own test files."""
    assert set(COMMANDS) - set(CALLS) == {"node", "mercure", "bench", "physics"}


@pytest.mark.parametrize("command", CALLS)
def test_one_document_on_standard_output(command, scan, make_model, tmp_path, capfd):
    make_model()
    model = str(tmp_path / "tiny.safetensors")
    (tmp_path / "rules.toml").write_text('[[rule]]\nmodel = "tiny.safetensors"\n', encoding="utf-8")
    text, key = CALLS[command]
    places = {"SCAN": scan, "OUT": tmp_path / "out.nrrd", "RULES": tmp_path / "rules.toml"}
    words = []
    for word in text.split():
        if word == "MODEL":
            words += ["--model", model, "--prior", "uniform", "--device", "cpu"]
        else:
            words.append(str(places.get(word, tmp_path / word)) if word.isupper() else word)
    assert main(words) == 0
    found = json.loads(capfd.readouterr().out)
    assert key in found if key else [entry["name"] for entry in found] == ["bioatt", "bioatt-fast", "bioatt-paper"]


def test_the_manifest_of_a_run_tells_what_went_in_how_and_what_came_out(make_model, scan, tmp_path, capfd):
    make_model()
    model = ["--model", str(tmp_path / "tiny.safetensors"), "--prior", "uniform", "--device", "cpu"]
    assert main(["denoise", str(scan), str(tmp_path / "o.nrrd"), *model, "--strength", "0.5", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["inputs"] == {"files": 1, "sha256": content_sha256([scan])}
    assert {"bioatt", "python", "torch", "device", "precision", "seconds", "warnings"} <= set(found)
    assert len(found["model"]["sha256"]) == 64
    assert found["strength"] == 0.5
    assert found["output"] == str(tmp_path / "o.nrrd")
    assert "scan.nrrd" not in json.dumps({key: value for key, value in found.items() if key != "output"})
