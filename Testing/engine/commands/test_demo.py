"""`bioatt demo` on a small phantom with a random model: the files, and metrics that match them."""

from __future__ import annotations

import json

import matplotlib.image
import numpy as np
import pytest

from bioatt.core.errors import InputError
from bioatt.core.metrics import psnr, rmse, ssim
from bioatt.io.comparison_figure import View, around, body_part, write_comparison
from bioatt.io.images import read_volume
from bioatt.simulation.phantom import LABELS

WINDOW = (-160, 240)


def bioatt(*arguments):
    """Run `bioatt` with only the subcommand under test; returns the exit status."""
    from bioatt.cli import build_parser, execute

    return execute(build_parser("bioatt", "test", "bioatt.commands", ["demo"]), [str(a) for a in arguments])


@pytest.fixture
def demo(tmp_path, make_model):
    make_model(arm="base", filters=2, name="tiny")
    folder = tmp_path / "new" / "demo"
    options = ("--model", tmp_path / "tiny.safetensors", "--slices", 8, "--size", 128, "--device", "cpu")
    return folder, ("demo", folder, *options)


def test_demo_writes_all_and_metrics_follow_from_the_files(demo, capsys):
    folder, call = demo
    assert bioatt(*call) == 0
    names = {"comparison.png", "metrics.json", "reference.nrrd", "low.nrrd", "denoised.nrrd", "labels.nrrd"}
    assert {path.name for path in folder.iterdir()} == names
    metrics = json.loads((folder / "metrics.json").read_text())
    reference = read_volume(folder / "reference.nrrd")
    for role, name in (("input", "low"), ("output", "denoised")):
        volume = read_volume(folder / f"{name}.nrrd")
        assert metrics[role]["psnr_db"] == pytest.approx(psnr(reference.hu, volume.hu, WINDOW))
        assert metrics[role]["rmse_hu"] == pytest.approx(rmse(reference.hu, volume.hu, WINDOW))
        assert metrics[role]["ssim"] == pytest.approx(ssim(reference.hu, volume.hu, WINDOW))
        assert volume.spacing == reference.spacing
    image = matplotlib.image.imread(folder / "comparison.png")
    assert image.shape[0] > 500
    assert image[..., :3].std() > 0.1
    out = capsys.readouterr().out
    assert "Research use only" in out
    assert f"{metrics['output']['psnr_db']:.2f}" in out

    # a quarter of the dose gives the liver the noise of a clinical low-dose scan
    labels = read_volume(folder / "labels.nrrd", hu=False).hu
    low = read_volume(folder / "low.nrrd")
    liver = labels == LABELS["liver"]
    assert 35 < (low.hu[liver].astype(float) - reference.hu[liver]).std() < 50
    assert 35 < metrics["input"]["liver"]["noise_hu"] < 50


@pytest.mark.parametrize(
    "option", [("--seed", 1000), ("--seed", -1), ("--dose", 0), ("--slices", 0), ("--kernel", "?")]
)
def test_wrong_calls_are_one_line(demo, option, capsys):
    _, call = demo
    assert bioatt(*call, *option) == 2
    assert [line for line in capsys.readouterr().err.splitlines() if "bioatt:" in line]


def test_a_folder_that_cannot_be_made(demo, tmp_path, capsys):
    _, call = demo
    (tmp_path / "file").write_text("")
    assert bioatt("demo", tmp_path / "file" / "demo", *call[2:]) == 2
    assert "is a file: name a folder" in capsys.readouterr().err


def test_parts_of_a_slice():
    rows, columns = around((2, 95), 20, (100, 100))
    assert (rows, columns) == (slice(0, 20), slice(80, 100))
    hu = np.full((50, 60), -1000.0)
    assert hu[body_part(hu)].shape == (50, 60)
    hu[20:30, 25:45] = 40
    assert body_part(hu, margin=2) == (slice(18, 32), slice(23, 47))


def test_comparison_refuses_different_shapes_and_leaves_nothing(tmp_path):
    a, b = np.zeros((1, 20, 20)), np.zeros((1, 20, 21))
    with pytest.raises(InputError):
        write_comparison(tmp_path / "c.png", a, a, b, [View(0)])
    with pytest.raises(InputError, match="could not be written"):
        write_comparison(tmp_path / "absent" / "c.png", a, a, a, [View(0)])
    assert not list(tmp_path.iterdir())


def test_a_comparison_has_room_above_its_titles_and_says_where_right_is(tmp_path):
    air = np.full((1, 100, 100), -1000.0)
    write_comparison(tmp_path / "c.png", air, air, air, [View(0)])
    light = matplotlib.image.imread(tmp_path / "c.png")[..., :3].max(axis=2) > 0.3
    rows = np.flatnonzero(light.any(axis=1))
    assert rows[0] >= 5
    middle = light[light.shape[0] // 2 - 40 : light.shape[0] // 2 + 40]
    letters = middle.reshape(80, 4, -1).any(axis=(0, 2))
    assert letters.all()
