"""The model cards match the model files and the stored results of the studies."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from bioatt_training.studies.card import write_cards

ROOT = Path(__file__).parents[3]
MODELS, RESULTS = ROOT / "Resources" / "Models", ROOT / "Training" / "results"


@pytest.fixture(scope="module")
def cards(tmp_path_factory):
    """The cards generated from the stored results, by file name."""
    folder = tmp_path_factory.mktemp("cards")
    for weights in MODELS.glob("bioatt*.safetensors"):
        (folder / weights.name).symlink_to(weights)
    write_cards(folder, RESULTS)
    return {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}


@pytest.mark.parametrize("name", ["bioatt", "bioatt-fast"])
def test_a_card_names_the_file_that_was_measured_if_it_is_another(cards, name):
    measured = json.loads((RESULTS / "benchmark" / "results.json").read_text())["models"][name]["sha256"]
    shipped = hashlib.sha256((MODELS / f"{name}.safetensors").read_bytes()).hexdigest()
    assert (measured[:16] in cards[f"{name}.md"]) == (measured != shipped)


@pytest.mark.parametrize("name", ["bioatt.md", "bioatt-fast.md"])
def test_the_cards_are_those_of_the_stored_results(cards, name):
    assert (MODELS / name).read_text(encoding="utf-8") == cards[name]
