"""The fuzzing targets: intact seed files and the reader of each. Readers may raise only the project's errors."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pydicom
import SimpleITK as sitk
import torch
from pydicom.uid import RLELossless
from Testing.engine.io.conftest import ct_like, write_series

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.core.errors import InputError
from bioatt.core.resources import resources_folder
from bioatt.core.volume import Volume
from bioatt.inference.assembly import make_denoiser
from bioatt.inference.denoiser import Denoiser
from bioatt.inference.models import TrainedModel, read_model, save_model
from bioatt.inference.options import EngineOptions
from bioatt.io.images import read_volume, write_volume
from bioatt.network import build_network
from bioatt.priors import build_prior
from bioatt.worker.server import Channel, Worker

HU = ct_like(3)
DESCRIPTORS = ("heart", "liver")
LARGEST_BYTES = 1 << 24
"""The seeds are small, so no damaged one may read as a larger volume than this."""


@dataclass(frozen=True)
class Target:
    """name; seeds: contents by file name; read: the reader of a damaged file; text: whether the format is text."""

    name: str
    seeds: Callable[[Path], dict[str, bytes]]
    read: Callable[[Path], None]
    text: bool = False


def read_and_write(path: Path) -> None:
    """Read a volume and write it: the output must be complete or refused, and leave no other file behind."""
    volume = read_volume(path)
    assert volume.hu.nbytes <= LARGEST_BYTES, "more voxels than the file has bytes for"
    folder = path.parent / "out"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        write_volume(volume, folder / "out.nrrd")
    except InputError:
        assert not list(folder.iterdir()), "a refused output left something"
        return
    assert [file.name for file in folder.iterdir()] == ["out.nrrd"]


def _images(*names: str) -> Callable[[Path], dict[str, bytes]]:
    def write(folder: Path) -> dict[str, bytes]:
        image = sitk.GetImageFromArray(HU)
        image.SetSpacing((0.8, 0.8, 5))
        found = {}
        for name in names:
            sitk.WriteImage(image, str(folder / name), useCompression="packed" in name or name.endswith(".gz"))
            found[name] = (folder / name).read_bytes()
        return found

    return write


def _dicom(folder: Path) -> dict[str, bytes]:
    write_series(folder / "series", HU)
    path = folder / "series" / "001.dcm"
    found = {"raw.dcm": path.read_bytes()}
    image = pydicom.dcmread(path)
    image.compress(RLELossless)
    image.save_as(path)
    return {**found, "rle.dcm": path.read_bytes()}


def _models(folder: Path) -> dict[str, bytes]:
    torch.manual_seed(0)
    names = load_descriptor_set("paper17").descriptors
    described = {"descriptor_set": "paper17", "descriptors": list(names), "version": "1", "training": {}}
    save_model(folder / "model.safetensors", build_network("bioatt", 2, len(names)), described)
    return {"model.safetensors": (folder / "model.safetensors").read_bytes()}


def _descriptors(_: Path) -> dict[str, bytes]:
    return {"paper17.json": (resources_folder() / "Anatomy" / "paper17.json").read_bytes()}


def _priors(_: Path) -> dict[str, bytes]:
    names = list(load_descriptor_set("paper17").descriptors)
    table = {"source": "uniform", "descriptors": names, "slices": ["a", "b", "c"], "probabilities": [[1 / 17] * 17] * 3}
    return {"prior.json": json.dumps(table).encode()}


def _read_prior(path: Path) -> None:
    build_prior(str(path), descriptors=load_descriptor_set("paper17")).probabilities(
        Volume(HU, slice_ids=("a", "b", "c"))
    )


def _requests(folder: Path) -> dict[str, bytes]:
    write_volume(Volume(HU), folder / "damaged" / "scan.nrrd")  # next to the requests, which refer to it
    volume = {
        "array": "in.npy",
        "spacing": [1, 1, 1],
        "origin": [0, 0, 0],
        "direction": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        "acquisition": {"kernel": "B30f", "kvp": 120},
        "files": ["none.dcm", "scan.nrrd"],
    }
    options = {"model": "auto", "prior": "uniform", "device": "cpu", "precision": "fp32"}
    p = {"descriptors": list(DESCRIPTORS), "probabilities": [0.25, 0.75]}
    maps = {"stages": ["last"], "descriptors": ["heart"], "unified": True}
    lines: dict[str, dict[str, Any]] = {
        "hello": {"type": "hello", "id": 1},
        "denoise": {"type": "denoise", "id": 2, "volume": volume, "slices": [0, 2], "attention": maps, **options},
        "preview": {"type": "preview", "id": 3, "volume": volume, "slice": 1, "p": p, "strength": 0.5, **options},
        "cancel": {"type": "cancel", "request": 2},
        "models": {"type": "models", "id": 4, "action": "import", "name": "biomedclip", "folder": "none"},
        "check": {"type": "check", "id": 5, "requirements": ["numpy>=2", "no-such-package"]},
        "file": {
            "type": "denoise",
            "id": 6,
            "volume": {"path": "scan.nrrd", "phase": "1"},
            "output": {"path": "out.nrrd", "series": False},
            "tile": 64,
        },
        "load": {"type": "load", "id": 7, **options},
        "prior": {"type": "prior", "id": 8, "volume": volume, "prior": "random:1"},
    }
    return {f"{name}.jsonl": json.dumps(line).encode() + b"\n" for name, line in lines.items()}


@cache
def _tiny_model() -> TrainedModel:
    torch.manual_seed(0)
    metadata = {"descriptor_set": "paper17", "descriptors": list(DESCRIPTORS), "prior": "uniform"}
    return TrainedModel(build_network("bioatt", 2, len(DESCRIPTORS)).eval(), metadata, "tiny", "0" * 64)


def small_denoiser(options: EngineOptions) -> Denoiser:
    """The real engine with a tiny untrained network."""
    return make_denoiser(replace(options, model=_tiny_model()))  # type: ignore[arg-type]


def replies(path: Path) -> list[dict[str, Any]]:
    """A worker's replies to the requests in a file. Runs in the file's folder, and restores the folder afterwards."""
    folder = path.parent / "private"
    folder.mkdir(exist_ok=True)
    sent = io.BytesIO()
    worker = Worker(Channel(sent), folder, small_denoiser, lambda: [{"name": "cpu"}])
    here = Path.cwd()
    os.chdir(path.parent)  # a damaged request may have a relative output path
    try:
        with mock.patch("os._exit"):
            worker.listen(io.BytesIO(path.read_bytes()))
        folder.mkdir(exist_ok=True)
        np.save(folder / "in.npy", HU)
        while not worker.requests.empty():
            worker.answer(worker.requests.get())
    finally:
        os.chdir(here)
        for left in {*path.parent.iterdir()} - {path, path.parent / "scan.nrrd"}:
            assert not left.name.startswith(".bioatt-"), "a refused output left something"
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    return [json.loads(line) for line in sent.getvalue().splitlines()]


def _answer(path: Path) -> None:
    """Every reply is a JSON object with a known type; an error is one line and blames the request, not the engine."""
    for reply in replies(path):
        assert reply["type"] in ("result", "error", "progress"), reply
        assert reply["type"] != "error" or reply["kind"] in ("input", "protocol", "cancelled"), reply
        assert "\n" not in reply.get("message", ""), reply


TARGETS = {
    target.name: target
    for target in (
        Target("nrrd", _images("raw.nrrd", "packed.nrrd"), read_and_write),
        Target("nifti", _images("raw.nii", "packed.nii.gz"), read_and_write),
        Target("mha", _images("raw.mha", "packed.mha"), read_and_write),
        Target("dicom", _dicom, read_and_write),
        Target("model", _models, lambda path: void(read_model(path))),
        Target("descriptors", _descriptors, lambda path: void(load_descriptor_set(path)), text=True),
        Target("prior", _priors, _read_prior, text=True),
        Target("worker", _requests, _answer, text=True),
    )
}


def void(_: object) -> None:
    """Discard what was read."""
