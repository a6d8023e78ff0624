"""Closed or full standard streams, a full disk and `--version`."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from bioatt.cli import main
from bioatt.core.provenance import DENOISED_BEFORE
from bioatt.core.volume import Volume
from bioatt.io.images import read_volume, write_volume

POSIX = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


def shell(command, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    program = f'"{sys.executable}" -m bioatt.cli'
    return subprocess.run(
        command.replace("bioatt ", f"{program} "),
        shell=True,
        capture_output=True,
        text=True,
        env=environment,
        **options,
    )


@POSIX
def test_closed_streams_change_nothing(scan):
    done = shell(f"bioatt evaluate '{scan}' '{scan}' 2>&-")
    assert (done.returncode, "RMSE" in done.stdout) == (0, True)
    assert shell(f"bioatt evaluate '{scan}' '{scan}' >&- 2>&-").returncode == 0
    assert shell("bioatt evaluate nowhere.nrrd nowhere.nrrd 2>&-").returncode == 2


@POSIX
def test_a_full_standard_output_is_one_line(scan):
    done = shell(f"bioatt evaluate '{scan}' '{scan}' >/dev/full")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "standard output could not be written" in done.stderr


def test_version_names_program_models_and_torch(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(word in said for word in ("bioatt 0.", "torch ", "cpu", "model bioatt "))


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
def test_maps_on_a_full_disk_are_told_beside_the_result_that_is_written(denoise, scan, tmp_path, monkeypatch):
    from bioatt.core.errors import InputError

    def full(*_, **__):
        raise InputError("middle_unified.nrrd could not be written (No space left on device): free some space")

    monkeypatch.setattr("bioatt.commands.attention.write_maps", full)
    status, errors = denoise(scan, tmp_path / "out.nrrd", "--attention", str(tmp_path / "maps"))
    assert status == 2
    assert "out.nrrd was written, but its attention maps were not" in errors[-1]
    assert "bioatt attention IN" in errors[-1]
    assert read_volume(tmp_path / "out.nrrd").shape == read_volume(scan).shape


def test_tiles_have_a_least_size(scan, tmp_path, capsys):
    assert main(["denoise", str(scan), str(tmp_path / "out.nrrd"), "--tile", "1"]) == 2
    assert "64 or more" in capsys.readouterr().err


def test_evaluate_does_not_warn_that_its_test_was_denoised(scan, tmp_path, capsys):
    write_volume(read_volume(scan), tmp_path / "out.nrrd", note="Denoised by BioAttDenoise")
    assert DENOISED_BEFORE in read_volume(tmp_path / "out.nrrd").warnings
    assert main(["evaluate", str(scan), str(tmp_path / "out.nrrd")]) == 0
    assert "BioAttDenoise already denoised" not in capsys.readouterr().err


def test_a_tilted_scan_is_resampled_for_nifti(denoise, make_volume, tmp_path):
    sheared = np.array([[1, 0, 0], [0, np.cos(0.3), 0], [0, np.sin(0.3), 1]])
    write_volume(make_volume(direction=sheared), tmp_path / "tilt.nrrd")
    status, errors = denoise(tmp_path / "tilt.nrrd", tmp_path / "out.nii.gz")
    assert (status, "--resample" in errors[-1]) == (2, True)
    status, _ = denoise(tmp_path / "tilt.nrrd", tmp_path / "out.nii.gz", "--resample")
    assert status == 0
    assert read_volume(tmp_path / "out.nii.gz").right_angled
    assert denoise(tmp_path / "tilt.nrrd", tmp_path / "series", "--resample")[0] == 2


def test_one_phase_of_several_is_denoised(denoise, make_volume, tmp_path):
    import SimpleITK as sitk

    both = np.stack([make_volume(seed=1).hu, make_volume(seed=2).hu])
    sitk.WriteImage(sitk.GetImageFromArray(both, isVector=False), str(tmp_path / "four.nii.gz"))
    assert denoise(tmp_path / "four.nii.gz", tmp_path / "out.nrrd")[0] == 2
    assert denoise(tmp_path / "four.nii.gz", tmp_path / "out.nrrd", "--phase", "2", "--strength", "0")[0] == 0
    np.testing.assert_array_equal(Volume(both[1]).hu, read_volume(tmp_path / "out.nrrd").hu)


def test_all_phases_are_denoised_one_after_another(denoise, make_volume, tmp_path):
    import SimpleITK as sitk

    both = np.stack([make_volume(seed=1).hu, make_volume(seed=2).hu])
    for suffix in (".nii.gz", ".nrrd"):
        sitk.WriteImage(sitk.GetImageFromArray(both, isVector=False), str(tmp_path / f"four{suffix}"))
        out = tmp_path / f"out{suffix}"
        options = ("--phase", "all", "--strength", "0", "--report", str(tmp_path / f"report{suffix[-3:]}.json"))
        assert denoise(tmp_path / f"four{suffix}", out, *options)[0] == 0
        for number, hu in enumerate(both, start=1):
            np.testing.assert_array_equal(read_volume(tmp_path / f"out-{number}{suffix}").hu, hu)
            assert (tmp_path / f"report{suffix[-3:]}-{number}.json").is_file()
        assert not out.exists()


def test_all_of_a_single_volume_keeps_the_output_s_name(denoise, make_volume, tmp_path):
    write_volume(make_volume(seed=1), tmp_path / "scan.nrrd")
    assert denoise(tmp_path / "scan.nrrd", tmp_path / "out.nrrd", "--phase", "all", "--strength", "0")[0] == 0
    np.testing.assert_array_equal(read_volume(tmp_path / "out.nrrd").hu, make_volume(seed=1).hu)


def test_each_scan_of_a_comparison_has_its_phase(make_volume, tmp_path, capsys):
    import SimpleITK as sitk

    both = np.stack([make_volume(seed=1).hu, make_volume(seed=2).hu])
    four, one = str(tmp_path / "four.nrrd"), str(tmp_path / "one.nrrd")
    sitk.WriteImage(sitk.GetImageFromArray(both, isVector=False), four)
    sitk.WriteImage(sitk.GetImageFromArray(both[1]), one)
    assert main(["evaluate", one, four]) == 2
    assert "choose one with --test-phase 1 to 2" in capsys.readouterr().err
    for phase, same in (("1", False), ("2", True)):
        assert main(["evaluate", one, four, "--test-phase", phase]) == 0
        line = next(line for line in capsys.readouterr().out.splitlines() if "RMSE, HU" in line)
        assert (float(line.split()[-1]) == 0) is same
