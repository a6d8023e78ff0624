"""The worker, spoken to as Docs/worker_protocol.md says, by nothing but a pipe."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from places import DICOM_FIXTURES, DOCS, STAND_IN

GEOMETRY = {"spacing": [0.7, 0.7, 2.0], "origin": [-10.0, -20.0, 30.0], "direction": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}


class Pipe:
    """A worker and both ends of the conversation."""

    def __init__(self, folder: Path, script: Path = STAND_IN) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.ready = self.read()

    def send(self, **message) -> None:
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def read(self) -> dict:
        return json.loads(self.process.stdout.readline())

    def answer(self, identity: int) -> tuple[dict, list[dict]]:
        progress = []
        while True:
            message = self.read()
            if message["type"] != "progress":
                assert message["id"] == identity
                return message, progress
            progress.append(message)

    def denoise(self, identity: int, model: str, slices: int = 6, **more) -> dict:
        hu = np.arange(slices * 20 * 20, dtype=np.int16).reshape(slices, 20, 20) - 1000
        np.save(self.folder / "in.npy", hu)
        volume = {"array": "in.npy", **GEOMETRY}
        self.send(type="denoise", id=identity, volume=volume, model=model, **more)
        return self.answer(identity)[0]


@pytest.fixture
def pipe(tmp_path):
    folder = tmp_path / "private"
    folder.mkdir()
    made = Pipe(folder)
    yield made
    made.process.kill()
    made.process.wait()


def test_ready_names_the_real_process(pipe):
    assert pipe.ready["type"] == "ready"
    assert pipe.ready["pid"] == pipe.process.pid
    assert pipe.ready["protocol"] == 1


def test_denoise_answers_with_progress_and_an_array(pipe):
    hu = np.arange(6 * 20 * 20, dtype=np.int16).reshape(6, 20, 20) - 1000
    np.save(pipe.folder / "in.npy", hu)
    pipe.send(type="denoise", id=7, volume={"array": "in.npy", **GEOMETRY}, model="slow", strength=0.5, slices=[1, 5])
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
    np.save(pipe.folder / "in.npy", np.full((5, 8, 8), -900, np.int16))
    pipe.send(type="preview", id=2, volume={"array": "in.npy", **GEOMETRY}, slice=3, model="steady")
    result, _ = pipe.answer(2)
    assert np.load(pipe.folder / result["array"]).shape == (1, 8, 8)
    given = {"descriptors": ["spleen", "liver", "heart", "lungs"], "probabilities": [0.5, 0.2, 0.2, 0.1]}
    pipe.send(type="preview", id=3, volume={"array": "in.npy", **GEOMETRY}, slice=3, model="steady", p=given)
    result, _ = pipe.answer(3)
    assert np.load(pipe.folder / result["array"]).shape == (1, 8, 8)
    (row,) = result["prior"]["probabilities"]
    assert row == pytest.approx([0.2, 0.4, 0.4]), "by name, in the model's order: lungs, heart, liver"
    given = {"descriptors": ["lungs", "liver"], "probabilities": [0.5, 0.5]}
    pipe.send(type="preview", id=4, volume={"array": "in.npy", **GEOMETRY}, slice=3, model="steady", p=given)
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
    assert "organs.nrrd is a file that this command reads" in error["message"]
    assert organs.read_bytes() == before


def test_what_a_dicom_series_could_not_store_is_told(pipe, tmp_path, change_hu):
    """12 unsigned bits from -1024 HU on: what the stand-in takes off is lost at the lower end."""
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
    """It covers the model's descriptors (here lungs, heart, liver), or is refused with those it lacks."""
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


def test_what_is_half_written_goes_with_its_parent(pipe, tmp_path):
    from bioatt.core.volume import Volume
    from bioatt.io.images import write_volume

    hu = np.random.default_rng(0).integers(-1000, 1000, (3, 16, 16)).astype(np.int16)
    write_volume(Volume(hu), tmp_path / "in.nrrd")
    places = {"volume": {"path": str(tmp_path / "in.nrrd")}, "output": {"path": str(tmp_path / "out.nrrd")}}
    pipe.send(type="denoise", id=1, model="half", **places)
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob(".bioatt-*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    pipe.process.stdin.close()
    assert pipe.process.wait(20) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.nrrd"]


def test_logs_and_messages_name_no_file(pipe):
    result = pipe.denoise(1, "lost")
    assert (result["kind"], result["message"]) == ("internal", "FileNotFoundError: No such file or directory")
    pipe.process.stdin.close()
    log = pipe.process.stderr.read().decode()
    assert "stand_in_worker.py:" in log
    assert "Doe" not in log
    assert str(STAND_IN.parent) not in log


def test_cancel_is_answered_within_a_second(pipe):
    np.save(pipe.folder / "in.npy", np.full((100, 8, 8), -900, np.int16))
    pipe.send(type="denoise", id=1, volume={"array": "in.npy", **GEOMETRY}, model="slow")
    assert pipe.read()["type"] == "progress"
    start = time.monotonic()
    pipe.send(type="cancel", request=1)
    answer, _ = pipe.answer(1)
    assert time.monotonic() - start < 1.0
    assert answer["type"] == "error"
    assert answer["kind"] == "cancelled"
    assert pipe.denoise(2, "steady")["type"] == "result"


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        ("memory", "memory"),
        ("full", "disk"),
        ("missing", "install"),
        ("refused", "input"),
        ("fault", "engine"),
        ("unknown", "input"),
    ],
)
def test_a_failure_is_an_answer_and_the_worker_goes_on(pipe, behaviour, kind):
    answer = pipe.denoise(1, behaviour)
    assert answer["type"] == "error"
    assert answer["kind"] == kind
    assert "\n" not in answer["message"]
    assert pipe.denoise(2, "steady")["type"] == "result"


def test_what_libraries_print_does_not_break_the_protocol(pipe):
    assert pipe.denoise(1, "chatty")["type"] == "result"
    assert pipe.denoise(2, "steady")["type"] == "result"
    pipe.process.stdin.close()
    log = pipe.process.stderr.read().decode()
    assert "hello from Python" in log
    assert "hello from a child" in log


@pytest.mark.parametrize(
    "line",
    [
        b"no json\n",
        b"[1, 2]\n",
        b'{"id": 1}\n',
        b'{"type": "dance", "id": 4}\n',
        b'{"type": "denoise"}\n',
        b"\xff\xfe\n",
        b'{"type": [1], "id": 4}\n',
        b'{"type": "hello", "id": NaN}\n',
        b'{"type": "cancel"}\n',
        b'{"type": "cancel", "request": [1]}\n',
        pytest.param(b"[" * 100_000 + b"\n", id="deep"),
    ],
)
def test_an_unreadable_request_is_told_and_survived(pipe, line):
    pipe.process.stdin.write(line)
    pipe.process.stdin.flush()
    answer = pipe.read()
    assert (answer["type"], answer["kind"]) == ("error", "protocol")
    assert pipe.denoise(2, "steady")["type"] == "result"
    pipe.process.stdin.close()
    assert pipe.process.wait(5) == 0, "it listens on: the end of stdin is still noticed"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"type": "dance", "id": 4}\n', "unknown request 'dance'"),
        (b'{"type": "hello", "id": "4"}\n', "hello needs a whole number as id"),
        (b'{"type": "cancel", "request": [1]}\n', "cancel needs a whole number as request"),
    ],
)
def test_what_is_wrong_with_a_request_is_named(pipe, line, words):
    pipe.process.stdin.write(line)
    pipe.process.stdin.flush()
    assert pipe.read()["message"] == words


def test_the_conversation_on_the_page_is_one(pipe):
    requests, replies = ([json.loads(line) for line in block.splitlines()] for block in conversation())
    assert [request["type"] for request in requests] == ["hello", "denoise", "cancel", "quit"]
    assert pipe.ready.keys() == replies[0].keys()
    pipe.send(**requests[0])
    answer, _ = pipe.answer(requests[0]["id"])
    assert (answer["type"], answer.keys()) == ("result", replies[1].keys())
    np.save(pipe.folder / "in.npy", np.full((100, 8, 8), -900, np.int16))
    place = {"volume": {"array": "in.npy", **GEOMETRY}, "output": {"path": str(pipe.folder.parent / "out.nrrd")}}
    pipe.send(**{**requests[1], **place, "model": "slow"})
    progress = pipe.read()
    assert (progress["type"], progress.keys()) == ("progress", replies[2].keys())
    pipe.send(**requests[2])
    assert pipe.answer(requests[1]["id"])[0] == replies[3]
    pipe.send(**requests[3])
    assert pipe.process.wait(5) == 0


def conversation() -> list[str]:
    """The page's blocks of requests and of replies."""
    page = DOCS / "worker_protocol.md"
    return [block for block in page.read_text(encoding="utf-8").split("```\n")[1::2] if block.startswith("{")]


def test_arrays_are_taken_from_the_private_folder_only(pipe, tmp_path):
    np.save(tmp_path / "outside.npy", np.zeros((2, 8, 8), np.int16))
    pipe.send(type="denoise", id=1, volume={"array": "../outside.npy", **GEOMETRY}, model="steady")
    assert pipe.answer(1)[0]["type"] == "error"


@pytest.mark.parametrize("model", ["steady", "stubborn"])
def test_the_worker_ends_and_cleans_up_when_its_parent_is_gone(pipe, model):
    np.save(pipe.folder / "in.npy", np.full((100, 8, 8), -900, np.int16))
    pipe.send(type="denoise", id=1, volume={"array": "in.npy", **GEOMETRY}, model=model)
    pipe.process.stdin.close()
    assert pipe.process.wait(3) == 0
    assert not pipe.folder.exists()


def test_a_graphics_card_that_is_not_there(pipe):
    answer = pipe.denoise(1, "steady", device="gpu")
    assert (answer["type"], answer["kind"]) == ("error", "input")
    assert "no graphics card was found" in answer["message"]


def test_quit_ends_the_worker(pipe):
    pipe.send(type="quit")
    assert pipe.process.wait(3) == 0


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_the_worker_dies_with_a_parent_that_is_killed(tmp_path, alive):
    """The parent process is killed by force: nobody closes anything on purpose."""
    folder = tmp_path / "private"
    folder.mkdir()
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys, time\n"
            f"command = [sys.executable, {str(STAND_IN)!r}, {str(folder)!r}]\n"
            "p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
            "p.stdout.readline(); print(p.pid, flush=True); time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
    )
    worker = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 5
    while (folder.exists() or alive(worker)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.exists()
    assert not alive(worker)


def test_organs_come_as_a_table_and_a_label_volume(pipe):
    hu = np.where(np.arange(60)[:, None] < 30, 100, 50) + np.random.default_rng(0).normal(0, 10, (4, 60, 60))
    labels = np.zeros((4, 60, 60), np.uint8)
    labels[:, 2:28, 4:56], labels[:, 32:58, 4:56] = 3, 7
    for name, array in (("in", hu), ("after", hu * 0.5 + 37.5), ("labels", labels)):
        np.save(pipe.folder / f"{name}.npy", array.astype(np.uint8 if name == "labels" else np.int16))
    volume, after, drawn = ({"array": f"{name}.npy", **GEOMETRY} for name in ("in", "after", "labels"))
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
    labels = np.full((6, 20, 20), 3, np.uint8)
    np.save(pipe.folder / "labels.npy", labels)
    anatomy = {"labels": {"array": "labels.npy", **GEOMETRY}, "names": {"3": "liver"}}
    result = pipe.denoise(1, "steady", organ_strength={"liver": 0.25}, anatomy=anatomy)
    assert result["organ_strength"] == {"liver": 0.25}
    assert pipe.denoise(2, "steady")["organ_strength"] == {}
    unusable = pipe.denoise(3, "steady", organ_strength={"liver": 0.25}, anatomy="elsewhere")
    assert (unusable["type"], unusable["kind"]) == ("error", "input")
