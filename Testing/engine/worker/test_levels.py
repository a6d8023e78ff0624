"""Strength by level: queried once for a whole volume, or sent by name with it."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest

from bioatt.core.strength import LEVELS, UNMEASURED
from bioatt.inference.assembly import make_denoiser
from bioatt.worker.channel import Channel, parse_request
from bioatt.worker.server import Worker

GEOMETRY = {"spacing": [0.8, 0.8, 3.0], "origin": [0, 0, 0], "direction": np.eye(3).tolist()}


@pytest.fixture
def ask(tmp_path):
    """`ask(hu, **request)` returns the answer of a worker with the shipped fast model."""
    sent = io.BytesIO()
    denoiser = lambda options: make_denoiser(  # noqa: E731
        replace(options, model="bioatt-fast", prior="uniform", device="cpu", precision="fp32")
    )
    worker = Worker(Channel(sent), tmp_path, denoiser, lambda: [])

    def answer(hu, **request):
        np.save(tmp_path / "in.npy", hu)
        volume = {"array": "in.npy", **GEOMETRY}
        worker.answer(parse_request(json.dumps({"id": 1, "volume": volume, **request}).encode()))
        reply = json.loads(sent.getvalue().splitlines()[-1])
        if "array" in reply:
            reply["hu"] = np.load(tmp_path / reply["array"])
        return reply

    return answer


def test_the_numbers_of_the_levels_are_those_that_the_words_mean(ask, make_volume):
    hu = make_volume(slices=7, height=100, width=110, noise=30.0).hu
    told = ask(hu, type="strength")
    assert list(told["levels"]) == list(LEVELS)
    assert told["noise"] == pytest.approx(30, rel=0.05)
    assert (len(told["removed"]), told["removed"][0]) == (21, 0)
    assert told["removed"] == sorted(told["removed"])
    word = ask(hu, type="denoise", strength="low")
    assert (word["strength"], word["strength_asked"]) == (told["levels"]["low"], "low")
    assert (word["noise_before"], word["noise_after"] / told["noise"]) == pytest.approx((told["noise"], 0.7), abs=5e-3)
    number = ask(hu[2:5], type="denoise", strength=told["levels"]["low"], slices=[1, 2])
    assert number["strength_asked"] is None
    target = ask(hu, type="denoise", target_noise=20)
    assert target["strength_asked"] == "20 HU"
    assert target["noise_after"] == pytest.approx(20, rel=0.06)


def test_a_volume_without_soft_tissue_has_usual_numbers_and_no_noise(ask):
    told = ask(np.full((3, 40, 40), -1000, np.int16), type="strength")
    assert (told["levels"], told["noise"], told["removed"]) == (UNMEASURED, None, None)
