"""The worker's answers to denoise, preview and organs requests, over a plain pipe."""

from __future__ import annotations

import hashlib
import importlib.util
import json

import numpy as np
import pytest
from places import DICOM_FIXTURES


def test_denoise_answers_with_progress_and_an_array(pipe):
    hu = np.arange(6 * 20 * 20, dtype=np.int16).reshape(6, 20, 20) - 1000
    pipe.send(type="denoise", id=7, volume=pipe.array(hu), model="slow", strength=0.5, slices=[1, 5])
    result, progress = pipe.answer(7)
    assert result["type"] == "result"
    array = np.load(pipe.folder / result["array"])
    assert array.dtype == np.int16
    np.testing.assert_array_equal(array, hu[1:5] - 10)
    assert [message["done"] for message in progress] == sorted(message["done"] for message in progress)
    assert progress[-1]["fraction"] == 1.0
    assert progress[-1]["slices"] == 4
    assert result["model"]["name"] == "slow"
    assert result["noise_before"] == 20
    assert result["noise_after"] == 8
    assert len(result["prior"]["probabilities"]) == 4
    assert "slices" not in result["prior"]


def test_attention_comes_in_the_same_pass(pipe):
    result = pipe.denoise(1, "steady", attention={"stages": ["last"]})
    assert [(a["stage"], a["name"]) for a in result["attention"]] == [
        ("last", n) for n in ("lungs", "heart", "liver", "unified")
    ]
    assert np.load(pipe.folder / result["attention"][0]["array"]).shape == (6, 20, 20)


def test_preview_is_one_slice(pipe):
    volume = pipe.array(np.full((5, 8, 8), -900, np.int16))
    pipe.send(type="preview", id=2, volume=volume, slice=3, model="steady")
    result, _ = pipe.answer(2)
    assert np.load(pipe.folder / result["array"]).shape == (1, 8, 8)
    given = {"descriptors": ["spleen", "liver", "heart", "lungs"], "probabilities": [0.5, 0.2, 0.2, 0.1]}
    pipe.send(type="preview", id=3, volume=volume, slice=3, model="steady", p=given)
    result, _ = pipe.answer(3)
    assert np.load(pipe.folder / result["array"]).shape == (1, 8, 8)
    (row,) = result["prior"]["probabilities"]
    assert row == pytest.approx([0.2, 0.4, 0.4]), "by name, in the model's order: lungs, heart, liver"
    given = {"descriptors": ["lungs", "liver"], "probabilities": [0.5, 0.5]}
    pipe.send(type="preview", id=4, volume=volume, slice=3, model="steady", p=given)
    error, _ = pipe.answer(4)
    assert (error["type"], error["kind"]) == ("error", "input")
    assert "heart" in error["message"]


def test_a_file_is_denoised_without_the_scene(pipe, tmp_path, change_hu):
    from bioatt.core.volume import Volume
    from bioatt.io.images import read_volume, write_volume

    hu = np.random.default_rng(0).integers(-1000, 1000, (3, 16, 16)).astype(np.int16)
    write_volume(Volume(hu), tmp_path / "in.nrrd")
    pipe.send(
        type="denoise",
        id=1,
        volume={"path": str(tmp_path / "in.nrrd")},
        output={"path": str(tmp_path / "out.nrrd")},
        model="steady",
    )
    result, _ = pipe.answer(1)
    assert result["type"] == "result", result
    np.testing.assert_array_equal(read_volume(tmp_path / "out.nrrd").hu, hu - change_hu)


def test_the_output_never_replaces_a_file_that_the_options_name(pipe, tmp_path):
    from bioatt.core.volume import Volume
    from bioatt.io.images import write_volume

    scan, organs = tmp_path / "in.nrrd", tmp_path / "organs.nrrd"
    for path in (scan, organs):
        write_volume(Volume(np.random.default_rng(0).integers(-1000, 1000, (3, 16, 16)).astype(np.int16)), path)
    before = organs.read_bytes()
    places = {"volume": {"path": str(scan)}, "output": {"path": str(organs)}}
    pipe.send(type="denoise", id=1, model="steady", prior=f"segmentation:{organs}", **places)
    error, _ = pipe.answer(1)
    assert (error["type"], error["kind"]) == ("error", "input")
    assert "organs.nrrd is an input of this command" in error["message"]
    assert organs.read_bytes() == before


def test_what_a_dicom_series_could_not_store_is_told(pipe, tmp_path, change_hu):
    """The series stores 12 unsigned bits from -1024 HU up; voxels that the stand-in lowers below that are clipped."""
    path = DICOM_FIXTURES
    specification = importlib.util.spec_from_file_location("series_writer", path)
    writer = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(writer)
    hu = writer.ct_like()
    hu[0, 0, :3] = -1024
    hu[0, 0, 3:] = np.maximum(hu[0, 0, 3:], -1000)
    hu[1:] = np.maximum(hu[1:], -1000)
    hu[0, 1:] = np.maximum(hu[0, 1:], -1000)
    writer.write_series(tmp_path / "scan", hu, signed=False, bits=12)
    places = {"volume": {"path": str(tmp_path / "scan")}, "output": {"path": str(tmp_path / "out")}}
    pipe.send(type="denoise", id=1, model="steady", **places)
    result, _ = pipe.answer(1)
    assert result["type"] == "result", result
    assert result["warnings"] == [f"3 voxels clipped by up to {change_hu} HU to the series' range, -1024 to 3071 HU"]
    assert len(list((tmp_path / "out").iterdir())) == 5


def test_a_descriptor_set_of_the_users_own(pipe, tmp_path):
    """A set that lacks any of the model's descriptors (here lungs, heart, liver) is refused; the error names them."""
    own = tmp_path / "mine.json"
    names = ["liver", "heart", "lungs", "tumour"]
    own.write_text(json.dumps({"name": "mine", "descriptors": [{"name": name} for name in names]}))
    assert pipe.denoise(1, "steady", descriptors=str(own))["type"] == "result"
    own.write_text(json.dumps({"name": "mine", "descriptors": [{"name": name} for name in names[2:]]}))
    answer = pipe.denoise(2, "steady", descriptors=str(own), prior="uniform")
    assert (answer["type"], answer["kind"]) == ("error", "input")
    assert "descriptor set mine lacks heart, liver" in answer["message"]


def test_an_edited_file_is_read_again(pipe, tmp_path):
    file = tmp_path / "prior.json"
    for number, row in enumerate(([0.1, 0.2, 0.7], [0.6, 0.3, 0.1]), 1):
        file.write_text(json.dumps({"descriptors": ["lungs", "heart", "liver"], "probabilities": row}))
        result = pipe.denoise(number, "steady", prior=str(file))
        assert result["prior"]["probabilities"][0] == pytest.approx(row)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert result["provenance"] == {
            "descriptor_set": {"name": "three", "sha256": "d" * 64},
            "prior_files_sha256": [digest],
        }


def test_arrays_are_taken_from_the_private_folder_only(pipe):
    volume = pipe.array(np.zeros((2, 8, 8), np.int16), "../outside.npy")
    pipe.send(type="denoise", id=1, volume=volume, model="steady")
    assert pipe.answer(1)[0]["type"] == "error"


def test_a_graphics_card_that_is_not_there(pipe):
    answer = pipe.denoise(1, "steady", device="gpu")
    assert (answer["type"], answer["kind"]) == ("error", "input")
    assert "no graphics card found" in answer["message"]


def test_organs_come_as_a_table_and_a_label_volume(pipe):
    hu = np.where(np.arange(60)[:, None] < 30, 100, 50) + np.random.default_rng(0).normal(0, 10, (4, 60, 60))
    labels = np.zeros((4, 60, 60), np.uint8)
    labels[:, 2:28, 4:56], labels[:, 32:58, 4:56] = 3, 7
    volume = pipe.array(hu.astype(np.int16))
    after = pipe.array((hu * 0.5 + 37.5).astype(np.int16), "after.npy")
    drawn = pipe.array(labels, "labels.npy")
    anatomy = {"labels": drawn, "names": {"3": "Liver", "7": "spleen", "9": "couch"}}
    request = {"volume": volume, "after": after, "anatomy": anatomy, "reference": "spleen", "maps": ["liver"]}
    pipe.send(type="organs", id=1, **request)
    result, _ = pipe.answer(1)
    assert result["type"] == "result", result
    found = np.load(pipe.folder / result["array"])
    np.testing.assert_array_equal(found, np.where(labels == 3, 9, np.where(labels == 7, 10, 0)))
    assert [(segment["value"], segment["name"]) for segment in result["segments"]] == [(9, "liver"), (10, "spleen")]
    assert all(0 <= part <= 1 for part in result["segments"][0]["color"])
    assert "SCT^10200004^Liver" in result["segments"][0]["terminology"]
    liver = result["table"]["organs"][0]
    assert liver["noise_after"] == pytest.approx(liver["noise_before"] / 2, rel=0.05)
    assert liver["moved"] is True, "100 HU became 87"
    assert result["table"]["reference"] == "spleen"
    (mapped,) = result["maps"]
    assert mapped["name"] == "liver"
    assert np.load(pipe.folder / mapped["array"])[1, 15, 30] == 255
    assert result["anatomy"] == "segmentation"
    pipe.send(type="organs", id=2, **{**request, "reference": "couch"})
    error, _ = pipe.answer(2)
    assert (error["kind"], "couch" in error["message"]) == ("input", True)


def test_strength_by_organ_reaches_the_denoiser(pipe):
    labels = pipe.array(np.full((6, 20, 20), 3, np.uint8), "labels.npy")
    anatomy = {"labels": labels, "names": {"3": "liver"}}
    result = pipe.denoise(1, "steady", organ_strength={"liver": 0.25}, anatomy=anatomy)
    assert result["organ_strength"] == {"liver": 0.25}
    assert pipe.denoise(2, "steady")["organ_strength"] == {}
    unusable = pipe.denoise(3, "steady", organ_strength={"liver": 0.25}, anatomy="elsewhere")
    assert (unusable["type"], unusable["kind"]) == ("error", "input")
