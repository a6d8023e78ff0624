"""Request fields: a missing field or wrong type is named, and never causes an internal error."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest

from bioatt.core.errors import InputError
from bioatt.worker.channel import Channel, ProtocolError, parse_request
from bioatt.worker.fields import REQUESTS
from bioatt.worker.server import Worker

VOLUME = {"array": "in.npy", "spacing": [1, 1, 2.5], "origin": [0, 0, 0], "direction": np.eye(3).tolist()}
DENOISE = {"type": "denoise", "id": 1, "volume": VOLUME}


def parsed(request):
    return parse_request(json.dumps(request).encode())


@pytest.mark.parametrize(
    "request_",
    [
        {"type": "hello", "id": 1},
        {"type": "load", "id": 1, "model": "bioatt", "tile": 128, "strength": 0.5},
        {**DENOISE, "slices": [0, 2], "output": {"path": "out", "series": None}, "attention": {"stages": ["last"]}},
        {**DENOISE, "strength": None, "tile": None, "attention": None, "output": None},
        {**DENOISE, "volume": {**VOLUME, "acquisition": {"kernel": None, "kvp": 120}}},
        {**DENOISE, "type": "preview", "slice": 3, "p": {"descriptors": ["liver"], "probabilities": [1]}},
        {"type": "denoise", "id": 1, "volume": {"path": "scan.nrrd"}},
        {**DENOISE, "strength": "medium"},
        {**DENOISE, "type": "strength", "target_noise": 12.5},
        {"type": "models", "id": 1, "action": "remove", "name": "biomedclip"},
        {"type": "batch", "id": 1, "source": {"path": "in"}, "output": {"path": "out"}, "rules": "rules.toml"},
    ],
)
def test_what_the_module_sends_passes(request_):
    assert parsed(request_) == request_


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (
            {"type": "denoise", "id": 1},
            "denoise needs volume, an object with a path, or with array, spacing, origin and direction",
        ),
        ({**DENOISE, "volume": "scan.nrrd"}, "denoise: volume must be an object with a path"),
        ({**DENOISE, "volume": {"path": 3}}, "denoise: volume.path must be text"),
        ({**DENOISE, "volume": {"path": "a\0b"}}, "denoise: volume.path must be text"),
        (
            {**DENOISE, "volume": {**VOLUME, "spacing": [1, 1]}},
            "volume.spacing must be a list of three numbers",
        ),
        ({**DENOISE, "volume": {**VOLUME, "direction": [1] * 9}}, "volume.direction must be three lists of three"),
        ({**DENOISE, "volume": {"array": "in.npy"}}, "denoise needs volume.spacing, a list of three numbers"),
        (
            {**DENOISE, "volume": {**VOLUME, "acquisition": {"patient": "x"}}},
            "acquisition.'patient' is not a field",
        ),
        ({**DENOISE, "target_noise": "low"}, "denoise: target_noise must be a number"),
        ({**DENOISE, "strength": "half"}, "denoise: strength must be a number or low, medium or high"),
        ({**DENOISE, "strength": float("nan")}, "denoise: strength must be a number or low, medium or high"),
        ({**DENOISE, "strength": 10**400}, "denoise: strength must be a number or low, medium or high"),
        ({**DENOISE, "strength": True}, "denoise: strength must be a number or low, medium or high"),
        ({**DENOISE, "slices": [0, 1.5]}, "denoise: slices must be a list of two whole numbers"),
        ({**DENOISE, "tile": "64"}, "denoise: tile must be a whole number"),
        ({**DENOISE, "output": {"series": True}}, "denoise needs output.path, text"),
        ({**DENOISE, "attention": {"stages": "last"}}, "denoise: attention.stages must be a list of texts"),
        ({**DENOISE, "type": "preview"}, "preview needs slice, a whole number"),
        ({**DENOISE, "type": "preview", "slice": 1, "p": [1]}, "preview: p must be an object"),
        ({"type": "batch", "id": 1, "source": {"path": "in"}}, "batch needs output, an object"),
        ({"type": "check", "id": 1}, "check needs requirements, a list of texts"),
        ({"type": "models", "id": 1, "action": "clean"}, "models: action must be download, import or remove"),
        ({"type": "hello", "id": True}, "hello needs a whole number as id"),
    ],
)
def test_what_is_missing_or_of_the_wrong_type_is_named(request_, said):
    with pytest.raises(ProtocolError) as error:
        parsed(request_)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture
def worker(tmp_path):
    """A worker whose models have no weights; `ask(request)` returns its one reply."""

    def no_model(options):
        raise InputError("no model")

    replies = io.BytesIO()
    made = Worker(Channel(replies), tmp_path, no_model, lambda: [{"name": "cpu"}])

    def ask(request):
        made.answer(parsed(request))
        return json.loads(replies.getvalue().splitlines()[-1])

    return SimpleNamespace(folder=tmp_path, ask=ask, handlers=made.handlers)


def test_every_request_that_is_handled_has_its_fields_listed(worker):
    assert set(worker.handlers) == set(REQUESTS)


@pytest.mark.parametrize("content", [None, b"", b"no array", b"\x93NUMPY\x01\x00"])
def test_an_array_that_is_none_is_an_error_of_the_input(worker, content):
    if content is not None:
        (worker.folder / "in.npy").write_bytes(content)
    reply = worker.ask(DENOISE)
    assert (reply["type"], reply["kind"]) == ("error", "input")
    assert "in.npy is not an array in the worker's folder" in reply["message"]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({**DENOISE, "attention": {"stages": ["first"]}}, "no network has attention at stage 'first'"),
        ({"type": "check", "id": 1, "requirements": ["numpy=="]}, "'numpy==' is not a requirement"),
        ({"type": "models", "id": 1, "action": "import"}, "import needs folder"),
    ],
)
def test_a_value_that_cannot_be_used_is_an_error_of_the_input(worker, request_, said):
    np.save(worker.folder / "in.npy", np.zeros((2, 8, 8), np.int16))
    reply = worker.ask(request_)
    assert (reply["type"], reply["kind"]) == ("error", "input")
    assert said in reply["message"]
