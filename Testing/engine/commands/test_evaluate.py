"""`bioatt evaluate`: metrics, table and rejected inputs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bioatt.commands.evaluate import table
from bioatt.core.errors import InputError
from bioatt.core.metrics import compare
from bioatt.core.volume import Volume
from bioatt.io.grids import check_same_grid
from bioatt.io.images import read_volume, write_volume

SAMPLE = Path(__file__).parents[3] / "BioAttDenoise" / "Resources" / "SampleData" / "QuarterDoseTorso.nrrd"


@pytest.fixture
def files(tmp_path, make_volume):
    clean, noisy, half = (make_volume(noise=noise, seed=noise) for noise in (0, 30, 15))
    for name, volume in (("reference", clean), ("low", noisy), ("denoised", half)):
        write_volume(volume, tmp_path / f"{name}.nrrd")
    return tmp_path, clean, noisy, half


def bioatt(*arguments):
    """Run `bioatt` with only the subcommand under test; returns the exit status."""
    from bioatt.cli import build_parser, execute

    return execute(build_parser("bioatt", "test", "bioatt.commands", ["evaluate"]), [str(a) for a in arguments])


def test_numbers_and_table(files, capsys):
    folder, clean, noisy, half = files
    names = [folder / f"{name}.nrrd" for name in ("reference", "denoised", "low")]
    assert bioatt("evaluate", names[0], names[1], "--low", names[2], "--json", folder / "m.json") == 0
    written = json.loads((folder / "m.json").read_text())
    assert written == {"input": compare(clean.hu, noisy.hu), "output": compare(clean.hu, half.hu)}
    assert written["output"]["psnr_db"] > written["input"]["psnr_db"] + 5
    out = capsys.readouterr().out
    for text in (
        "[-160, 240] HU, range 400",
        "[-1000, 1000] HU",
        "lung",
        "bone",
        "low.nrrd",
        "denoised.nrrd",
        "change",
    ):
        assert text in out
    assert f"{written['output']['psnr_db']:.2f}" in out
    assert not list(folder.glob(".*partial*"))


def test_columns_of_files_of_one_name_are_told_apart(files, capsys):
    """A denoised scan may have the low-dose scan's file name; both columns must still appear."""
    folder, *_, half = files
    (folder / "denoised").mkdir()
    write_volume(half, folder / "denoised" / "low.nrrd")
    names = [folder / name for name in ("reference.nrrd", "denoised/low.nrrd", "low.nrrd")]
    assert bioatt("evaluate", *names[:2], "--low", names[2]) == 0
    out = capsys.readouterr().out
    assert all(title in out for title in ("low low.nrrd", "test low.nrrd", "change"))


def test_without_low(files, capsys):
    folder, *_ = files
    assert bioatt("evaluate", folder / "reference.nrrd", folder / "denoised.nrrd") == 0
    assert "change" not in capsys.readouterr().out


def test_orientation_of_the_file_does_not_matter(tmp_path, make_volume, capsys):
    clean, noisy = make_volume(slices=9, noise=0), make_volume(slices=9, noise=20, seed=3)
    direction = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]], float)  # stored as sagittal slices
    results = []
    for turn in (False, True):
        for name, volume in (("a", clean), ("b", noisy)):
            if turn:
                turned = np.ascontiguousarray(np.transpose(volume.hu, (2, 0, 1)))
                volume = Volume(turned, spacing=(0.8, 3.0, 0.8), direction=direction)
            write_volume(volume, tmp_path / f"{name}.nrrd")
        assert bioatt("evaluate", tmp_path / "a.nrrd", tmp_path / "b.nrrd", "--json", tmp_path / f"{turn}.json") == 0
        results.append(json.loads((tmp_path / f"{turn}.json").read_text())["output"])
    assert results[0]["ssim"] == pytest.approx(results[1]["ssim"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spacing": (0.8, 0.8, 3.1)}, "off the reference"),
        ({"origin": (0.0, 0.0, 1.0)}, "off the reference"),
        ({"direction": np.diag([1.0, -1.0, -1.0])}, "off the reference"),
        ({"slices": 4}, "4 x 72 x 80"),
    ],
)
def test_a_different_grid_is_one_line(files, make_volume, change, message, capsys):
    folder, *_ = files
    write_volume(make_volume(**change), folder / "other.nrrd")
    assert bioatt("evaluate", folder / "reference.nrrd", folder / "other.nrrd") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_missing_file_and_unwritable_json(files, capsys):
    folder, *_ = files
    assert bioatt("evaluate", folder / "reference.nrrd", folder / "absent.nrrd") == 2
    both = (folder / "reference.nrrd", folder / "low.nrrd")
    assert bioatt("evaluate", *both, "--json", folder / "no" / "m.json") == 2
    assert "folder no does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["reference.nrrd", "denoised.nrrd", "low.nrrd", "link.json", "."])
def test_the_numbers_never_replace_a_scan(files, place, capsys):
    folder, *_ = files
    (folder / "link.json").symlink_to(folder / "low.nrrd")
    names = [folder / f"{name}.nrrd" for name in ("reference", "denoised", "low")]
    before = [path.read_bytes() for path in names]
    assert bioatt("evaluate", *names[:2], "--low", names[2], "--json", folder / place) == 2
    error = capsys.readouterr().err
    assert ("is a folder" if place == "." else "already an input") in error
    assert error.count("\n") == 1
    assert [path.read_bytes() for path in names] == before


def test_a_series_of_each_folder(files, capsys):
    folder, *_ = files
    names = [folder / f"{name}.nrrd" for name in ("reference", "denoised", "low")]
    numbers = ["--series", "3", "--test-series", "1003", "--low-series", "4"]
    asked = {}

    def read(path, series=None, phase=None):
        asked[path] = series
        return read_volume(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bioatt.io.images.read_volume", read, raising=False)
        assert bioatt("evaluate", *names[:2], "--low", names[2], *numbers) == 0
    assert asked == dict(zip(map(str, names), ("3", "1003", "4"), strict=True))


def test_rounding_of_the_header_is_not_another_grid(make_volume):
    check_same_grid(make_volume(), make_volume(spacing=(0.8000001, 0.8, 3.0)))
    with pytest.raises(InputError):
        check_same_grid(make_volume(), make_volume(spacing=(0.81, 0.8, 3.0)))


def test_table_of_equal_scans_has_no_numbers_for_infinity(make_volume):
    volume = make_volume()
    text = table({"same": compare(volume.hu, volume.hu)})
    assert "inf" not in text
    assert "nan" not in text


def test_slices_of_other_places_are_not_compared(series_writer, tmp_path, capsys):
    """Two series of equal length, each lacking a different slice."""
    hu = series_writer.ct_like(slices=8)
    for name, left_out in (("a", 2), ("b", 6), ("c", 2)):
        series_writer.write_series(tmp_path / name, hu, keep=[k for k in range(8) if k != left_out])
    assert bioatt("evaluate", tmp_path / "a", tmp_path / "b") == 2
    assert "2.5 mm off" in capsys.readouterr().err
    assert bioatt("evaluate", tmp_path / "a", tmp_path / "c") == 0
    assert "0.00" in capsys.readouterr().out


def test_dice_of_organs(tmp_path, capsys):
    """Organs are segmented in each scan, so anatomy lost in denoising lowers the Dice coefficient."""
    slices = read_volume(SAMPLE)
    damaged = replace(slices, hu=np.where(slices.hu > 20, slices.hu - 300, slices.hu).astype(slices.hu.dtype))
    write_volume(slices, tmp_path / "reference.nrrd")
    write_volume(damaged, tmp_path / "damaged.nrrd")
    names = [tmp_path / f"{name}.nrrd" for name in ("reference", "damaged", "reference")]
    written = tmp_path / "m.json"
    assert bioatt("evaluate", names[0], names[1], "--low", names[2], "--organs", "maps", "--json", written) == 0
    found = json.loads(written.read_text())
    assert found["input"]["dice"]["liver"] == 1
    assert found["output"]["dice"]["liver"] < 0.9
    assert "Dice against the reference, liver" in capsys.readouterr().out
