"""Rules: which one applies to a scan, and the errors for unusable files."""

from __future__ import annotations

import pytest

from bioatt.core.errors import InputError
from bioatt.core.strength import TargetNoise
from bioatt.service.facts import Facts
from bioatt.service.rules import EVERY_SCAN, first_met, read_rules

THREE = """
[[rule]]
match.series_description = "*MPR*"
skip = true

[[rule]]
name = "low-dose chest"
match.series_description = ["*Chest*", "*thorax*"]
match.kernel = "b*"
match.modality = "CT"
match.thickness_mm = [0.5, 3]
match.ctdi_vol_mgy = [0, 4]
model = "bioatt-fast"
strength = "medium"
organ_strength = {Lungs = 0.5}
formats = ["dicom", "nii.gz"]

[[rule]]
target_noise_hu = 12
model = "own.safetensors"
"""
CHEST = Facts("LOW DOSE THORAX", "B30f", "CT", 3.0, 2.1)


@pytest.fixture
def rules_of(tmp_path):
    def read(text):
        path = tmp_path / "rules.toml"
        path.write_text(text, encoding="utf-8")
        return read_rules(path)

    return read


def test_the_first_rule_whose_conditions_are_all_met_applies(rules_of, tmp_path):
    skip, chest, rest = rules_of(THREE)
    assert first_met((skip, chest, rest), CHEST) is chest
    assert first_met((skip, chest, rest), Facts("thorax mpr", "B30f", "CT", 3.0, 2.1)) is skip
    for other in (
        Facts("abdomen", "B30f", "CT", 3.0, 2.1),
        Facts("thorax", "I30f", "CT", 3.0, 2.1),
        Facts("thorax", "B30f", "MR", 3.0, 2.1),
        Facts("thorax", "B30f", "CT", 3.1, 2.1),
        Facts("thorax", "B30f", "CT", 3.0, 4.1),
        Facts("thorax", "B30f", "CT", 3.0, None),  # an unknown value meets no condition
    ):
        assert first_met((skip, chest, rest), other) is rest
    assert first_met((skip, chest), Facts()) is None
    assert (skip.name, chest.name, rest.name) == ("rule 1", "low-dose chest", "rule 3")
    assert rest.strength == TargetNoise(12)
    assert rest.model == str(tmp_path / "own.safetensors")


def test_settings_name_the_organs_as_the_engine_does_and_can_be_stored(rules_of):
    assert rules_of(THREE)[1].settings() == {
        "strength": "medium",
        "organ_strength": {"lungs": 0.5},
        "formats": ["dicom", "nii.gz"],
    }
    assert rules_of(THREE)[2].settings()["strength"] == "12 HU"


def test_without_a_file_every_scan_is_denoised():
    assert first_met(EVERY_SCAN, Facts()) is EVERY_SCAN[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no [[rule]]"),
        ("rule = 3", "no [[rule]]"),
        ("[[rule]\n", "not valid TOML"),
        ("[[rule]]\nstrenght = 1", "rule 1: unknown key 'strenght': use name, skip, model, strength"),
        ("[[rule]]\n[[rule]]\nmatch.kernal = 'B'", "rule 2: match: unknown key 'kernal'"),
        ("[other]\n[[rule]]", "the file: unknown key 'other'"),
        ("[[rule]]\nstrength = 2", "rule 1: strength: strength must lie between 0 and 1"),
        ("[[rule]]\nstrength = true", "rule 1: strength: True is not a number"),
        ("[[rule]]\nstrength = 1\ntarget_noise_hu = 9", "mutually exclusive"),
        ("[[rule]]\ntarget_noise_hu = 0", "rule 1: target_noise_hu: "),
        ("[[rule]]\norgan_strength = {tail = 1}", "rule 1: organ_strength: "),
        ("[[rule]]\norgan_strength = 0.5", "rule 1: organ_strength: give a table"),
        ("[[rule]]\nformats = ['jpeg']", "rule 1: formats: give a list of dicom, nrrd, nii.gz, mha"),
        ("[[rule]]\nformats = []", "rule 1: formats"),
        ("[[rule]]\nmatch.thickness_mm = 3", "rule 1: match: thickness_mm: give [lowest, highest]"),
        ("[[rule]]\nmatch.thickness_mm = [3, 1]", "not [3, 1]"),
        ("[[rule]]\nmatch.kernel = [3]", "rule 1: match: kernel: give a string"),
        ("[[rule]]\nmatch = 'chest'", "rule 1: match: give a table"),
        ("[[rule]]\nskip = 'yes'", "rule 1: skip: give true or false"),
        ("[[rule]]\nskip = true\nmodel = 'bioatt'", "remove model"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line_that_names_the_key(rules_of, text, said):
    with pytest.raises(InputError) as error:
        rules_of(text)
    assert said in str(error.value)
    assert str(error.value).startswith("rules rules.toml")
    assert len(str(error.value).splitlines()) == 1


def test_a_file_that_is_not_there_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml cannot be opened"):
        read_rules(tmp_path / "none.toml")
