"""The command `bioatt prior`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.cli import main
from bioatt.core.canonical import canonical
from bioatt.core.volume import Volume
from bioatt.io.images import read_volume
from bioatt.priors import build_prior
from bioatt.priors.base import Prior
from bioatt.priors.plot import plot_prior


@pytest.fixture
def scan(torso: Volume, tmp_path: Path) -> Path:
    image = sitk.GetImageFromArray(torso.hu)
    image.SetSpacing(torso.spacing)
    sitk.WriteImage(image, str(tmp_path / "scan.nrrd"))
    return tmp_path / "scan.nrrd"


def test_table_on_the_terminal(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prior", str(scan)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    assert lines[2].split()[:3] == ["2", "10.0", "mm"]


def test_json_and_plot(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, picture = tmp_path / "prior.json", tmp_path / "prior.png"
    assert main(["prior", str(scan), "--json", str(table), "--plot", str(picture)]) == 0
    assert capsys.readouterr().out == ""
    written = json.loads(table.read_text())
    volume = canonical(read_volume(scan)).volume
    assert written["descriptors"] == list(load_descriptor_set("paper17").descriptors)
    assert written["slices"] == list(volume.slice_ids)
    expected = build_prior("maps", descriptors=load_descriptor_set("paper17")).probabilities(volume)
    np.testing.assert_allclose(written["probabilities"], expected.p, atol=1e-6)
    assert picture.read_bytes().startswith(b"\x89PNG")
    again = tmp_path / "again.json"
    assert main(["prior", str(scan), "--source", str(table), "--json", str(again)]) == 0
    assert json.loads(again.read_text())["probabilities"] == written["probabilities"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "again.json",
        "prior.json",
        "prior.png",
        "scan.nrrd",
    ], "nothing else is left behind"


def test_a_users_descriptors_and_biomedclip(scan: Path, small: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps({"name": "mine", "descriptors": [{"name": "lungs"}, {"name": "tumour"}]}))
    table = tmp_path / "prior.json"
    call = ["prior", str(scan), "--source", f"biomedclip:{small}", "--descriptors", str(mine), "--json", str(table)]
    assert main(call) == 0
    assert json.loads(table.read_text())["descriptors"] == ["lungs", "tumour"]


def test_segmentation(scan: Path, torso: Volume, tmp_path: Path) -> None:
    labels = sitk.GetImageFromArray((torso.hu > 200).astype(np.uint8) * 27)
    labels.SetSpacing(torso.spacing)
    sitk.WriteImage(labels, str(tmp_path / "labels.nii.gz"))
    table = tmp_path / "prior.json"
    source = f"segmentation:{tmp_path / 'labels.nii.gz'}"
    assert main(["prior", str(scan), "--source", source, "--json", str(table), "--plot", str(tmp_path / "p.svg")]) == 0
    assert (tmp_path / "p.svg").is_file()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--source", "clip"], "unknown prior 'clip'"),
        (["--source", "biomedclip"], "BiomedCLIP is not installed"),
        (["--descriptors", "authors11"], "do not cover ventricles, lymph nodes"),
        (["--descriptors", "none"], "unknown descriptor set"),
        (["--plot", "prior.txt"], "name the plot .png"),
        (["--json", "nowhere/prior.json"], "folder nowhere does not exist"),
    ],
)
def test_wrong_calls_are_one_line(
    scan: Path, options: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prior", str(scan), *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert reason in error


@pytest.mark.parametrize("slices", [1, 2, 40])
def test_plot_of_any_volume(slices: int, tmp_path: Path) -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(17), slices).astype(np.float32)
    names = load_descriptor_set("paper17").descriptors
    plot_prior(Prior(p, names, "test", tuple(map(str, range(slices)))), 2.5, tmp_path / "prior.png")
    assert (tmp_path / "prior.png").stat().st_size > 5000
