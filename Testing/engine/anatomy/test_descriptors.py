"""Descriptor sets: shipped, user-defined and invalid ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bioatt.anatomy.descriptors import descriptor_set_names, load_descriptor_set, parse_descriptor_set
from bioatt.core.errors import InputError
from bioatt.core.resources import resources_folder

PAPER17 = (
    "skull, brain, neck, shoulders, lungs, mediastinum, heart, thoracic aorta, liver, spleen, stomach, pancreas, "
    "kidneys, abdominal aorta, bowel, pelvis, spine"
)
SCHEMA = json.loads((resources_folder() / "Anatomy" / "descriptor-set.schema.json").read_text(encoding="utf-8"))
TWO = [{"name": "liver"}, {"name": "spleen"}]


def test_shipped_sets() -> None:
    assert descriptor_set_names() == ("authors11", "paper17")
    assert load_descriptor_set("paper17").descriptors == tuple(PAPER17.split(", "))
    authors = load_descriptor_set("authors11")
    assert len(authors) == 11
    assert authors.prompts[0] == ("skull",), "the authors' bare words"


@pytest.mark.parametrize("name", ["paper17", "authors11"])
def test_shipped_sets_follow_the_schema(name: str) -> None:
    path = resources_folder() / "Anatomy" / f"{name}.json"
    jsonschema.validate(json.loads(path.read_text(encoding="utf-8")), SCHEMA)


def test_prompts_come_from_templates_phrases_or_are_given() -> None:
    content = {
        "name": "mine",
        "templates": ["a CT of the {}", "{}"],
        "descriptors": [
            {"name": "liver"},
            {"name": "pelvis", "phrase": "pelvis with bladder"},
            {"name": "spine", "prompts": ["vertebra"]},
        ],
    }
    parsed = parse_descriptor_set(content)
    assert parsed.prompts == (
        ("a CT of the liver", "liver"),
        ("a CT of the pelvis with bladder", "pelvis with bladder"),
        ("vertebra",),
    )
    assert parsed.hu_windows == ((-160.0, 240.0),)


def test_text_hash_depends_on_prompts_and_order_only() -> None:
    one = parse_descriptor_set({"name": "a", "descriptors": TWO})
    renamed = parse_descriptor_set({"name": "b", "descriptors": TWO, "hu_windows": [[-1000, 0]]})
    turned = parse_descriptor_set({"name": "a", "descriptors": TWO[::-1]})
    assert one.text_hash == renamed.text_hash != turned.text_hash


@pytest.mark.parametrize(
    ("structure", "descriptors"),
    [
        ("kidney_left", ["kidneys"]),
        ("Kidney Left", ["kidneys"]),
        ("vertebrae_L3", ["spine"]),
        ("hips", ["pelvis"]),
        ("bladder", ["pelvis"]),
        ("thoracic aorta", ["thoracic aorta"]),
        ("aorta", ["thoracic aorta", "abdominal aorta"]),
        ("ventricles", ["brain"]),
        ("gallbladder", []),
        ("ribs", []),
    ],
)
def test_structures_count_as_descriptors(structure: str, descriptors: list[str]) -> None:
    paper = load_descriptor_set("paper17")
    assert [paper.descriptors[column] for column in paper.columns_of(structure)] == descriptors


BAD: list[tuple[Any, str]] = [
    ([], "must be a JSON object"),
    ({"descriptors": TWO}, "lacks 'name'"),
    ({"name": "a"}, "lacks 'descriptors'"),
    ({"name": "a/b", "descriptors": TWO}, "letters, digits"),
    ({"name": "a", "descriptors": TWO[:1]}, "2 to 256"),
    ({"name": "a", "descriptors": ["liver", "spleen"]}, r"descriptors\[0\] must be a JSON object"),
    ({"name": "a", "descriptors": [{"name": "liver"}, {"nam": "x"}]}, r"descriptors\[1\] lacks 'name'"),
    ({"name": "a", "descriptors": [*TWO, {"name": " "}]}, r"descriptors\[2\].name must be a non-empty string"),
    ({"name": "a", "descriptors": TWO, "window": [0, 1]}, "unknown key 'window'"),
    ({"name": "a", "descriptors": TWO, "hu_windows": [[0, 1], [0, 1]]}, "one window"),
    ({"name": "a", "descriptors": TWO, "hu_windows": [[0]]}, r"\[low, high\]"),
    ({"name": "a", "descriptors": TWO, "hu_windows": [["0", 1]]}, r"\[low, high\]"),
    ({"name": "a", "descriptors": TWO, "hu_windows": [[0, 99999]]}, r"\[low, high\]"),
    ({"name": "a", "descriptors": TWO, "templates": ["no place"]}, "must contain {} exactly once"),
    ({"name": "a", "descriptors": TWO, "templates": ["{} {}"]}, "must contain {} exactly once"),
    ({"name": "a", "descriptors": TWO, "templates": []}, "templates must be a list"),
    ({"name": "a", "descriptors": [{"name": "x", "prompts": []}, {"name": "y"}]}, "prompts must be a list"),
]


@pytest.mark.parametrize(("content", "reason"), BAD)
def test_bad_sets_are_refused_with_the_reason_as_the_schema_does(content: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        parse_descriptor_set(content)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, SCHEMA)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"descriptors": [{"name": "liver"}, {"name": "Liver"}]}, "named twice"),
        ({"hu_windows": [[240, -160]]}, "must rise"),
    ],
)
def test_what_a_schema_cannot_say_is_refused_too(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        parse_descriptor_set({"name": "a", "descriptors": TWO, **change})


def test_a_users_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"name": "mine", "descriptors": TWO}), encoding="utf-8")
    assert load_descriptor_set(path).descriptors == ("liver", "spleen")
    path.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.json is not JSON"):
        load_descriptor_set(path)
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.json: the file lacks"):
        load_descriptor_set(path)


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(InputError, match="use one of authors11, paper17"):
        load_descriptor_set("paper18")
    with pytest.raises(InputError, match="cannot be opened"):
        load_descriptor_set("nowhere/mine.json")
