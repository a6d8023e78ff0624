"""Several volumes in one file or series: one is chosen, and they are never mixed."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from Testing.engine.io.conftest import ct_like, write_series
from Testing.fuzz.targets import small_denoiser

from bioatt.io.images import read_volume
from bioatt.worker.channel import Channel, parse_request
from bioatt.worker.server import Worker

GEOMETRY = {"spacing": [0.7, 0.8, 1.25], "origin": [0, 0, 0], "direction": np.eye(3).tolist()}


@pytest.fixture
def ask(tmp_path):
    """`ask(**request)` returns a worker's answer; its models are untrained."""
    folder = tmp_path / "private"
    folder.mkdir()
    np.save(folder / "in.npy", ct_like(10))
    sent = io.BytesIO()
    worker = Worker(Channel(sent), folder, lambda o: small_denoiser(replace(o, prior="uniform")), lambda: [])

    def answer(**request):
        worker.answer(parse_request(json.dumps({"type": "denoise", "id": 1, "strength": 0, **request}).encode()))
        return json.loads(sent.getvalue().splitlines()[-1])

    return answer


@pytest.fixture
def interleaved(tmp_path):
    """A series whose two acquisitions alternate along z: (folder, hu)."""
    hu = ct_like(10)
    write_series(tmp_path / "scan", hu, step=(0, 0, 1.25), AcquisitionNumber=lambda k: 1 + k % 2)
    return tmp_path / "scan", hu


def test_one_phase_is_chosen_by_what_tells_it_apart(ask, interleaved, tmp_path):
    folder, hu = interleaved
    volume = {"path": str(folder), "phase": "acquisition 2"}
    assert ask(volume=volume, output={"path": str(tmp_path / "out.nrrd")})["type"] == "result"
    np.testing.assert_array_equal(read_volume(tmp_path / "out.nrrd").hu, hu[1::2])


def files_of(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.iterdir())]


def test_voxels_loaded_from_two_phases_are_refused(ask, interleaved):
    """Slicer loads such a series as one volume."""
    reply = ask(volume={"array": "in.npy", **GEOMETRY, "files": files_of(interleaved[0])})
    assert (reply["type"], reply["kind"]) == ("error", "input")
    assert "its slices belong to 2 volumes" in reply["message"]
    assert "acquisition 1" in reply["message"]


def test_voxels_loaded_from_a_map_are_refused_and_a_reconstruction_is_told(ask, tmp_path):
    write_series(tmp_path / "map", ImageType=["DERIVED", "PRIMARY", "AXIAL", "DE_IODINE"])
    reply = ask(volume={"array": "in.npy", **GEOMETRY, "files": files_of(tmp_path / "map")})
    assert (reply["type"], reply["kind"]) == ("error", "input")
    assert "iodine map" in reply["message"]
    write_series(tmp_path / "scan", ConvolutionKernel=["Br40d", "3"])
    reply = ask(volume={"array": "in.npy", **GEOMETRY, "files": files_of(tmp_path / "scan")})
    assert any("already reconstructed with noise reduction" in line for line in reply["warnings"])
    reply = ask(volume={"array": "in.npy", **GEOMETRY, "files": [str(tmp_path / "gone.dcm")]})
    assert reply["type"] == "result"


def test_a_damaged_header_of_a_loaded_volume_is_one_line(ask, tmp_path):
    write_series(tmp_path / "scan", ImageOrientationPatient=[1, 0, 0])
    reply = ask(volume={"array": "in.npy", **GEOMETRY, "files": files_of(tmp_path / "scan")})
    assert (reply["type"], reply["kind"]) == ("error", "input"), reply
    assert "malformed value" in reply["message"]
