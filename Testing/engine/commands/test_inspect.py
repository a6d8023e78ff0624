"""`bioatt inspect` reports what the reader finds, whether it would be denoised and, if not, why."""

from __future__ import annotations

import json

import numpy as np
import SimpleITK as sitk
from Testing.engine.io.conftest import write_series

from bioatt.cli import main
from bioatt.io.images import write_volume


def inspected(capsys, path, *options):
    assert main(["inspect", str(path), "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_series_is_described_with_kernel_and_dose(tmp_path, capsys):
    write_series(tmp_path / "scan", CTDIvol=7.25, Exposure=120)
    found = inspected(capsys, tmp_path / "scan")
    assert (found["denoised"], found["shape_zyx"], found["kernel"]) == (True, [5, 24, 20], "B30f")
    assert found["dose"] == {"ctdi_vol_mgy": 7.25, "mas": 120.0, "tube_current_ma": 200.0}
    assert "DICOM series" in found["outputs"]
    assert "SECRET" not in json.dumps(found).upper()


def test_phases_are_listed_and_the_chosen_one_is_described(tmp_path, capsys):
    write_series(tmp_path / "scan", np.zeros((8, 24, 20), np.int16), AcquisitionNumber=lambda k: k % 2)
    found = inspected(capsys, tmp_path / "scan")
    assert (found["denoised"], len(found["volumes"])) == (False, 2)
    assert "--phase" in found["reason"]
    assert inspected(capsys, tmp_path / "scan", "--phase", "2")["denoised"] is True


def test_what_is_refused_is_an_answer_on_one_screen(tmp_path, capsys, make_volume):
    stored = (make_volume().hu.clip(-1024) + 1024).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(stored), str(tmp_path / "stored.nrrd"))
    assert main(["inspect", str(tmp_path / "stored.nrrd")]) == 0
    assert "would be refused: stored.nrrd: the values run" in capsys.readouterr().out
    write_volume(make_volume(), tmp_path / "ct.nrrd")
    assert main(["inspect", str(tmp_path / "ct.nrrd")]) == 0
    said = capsys.readouterr().out
    assert "would be denoised" in said
    assert len(said.splitlines()) < 20
    assert main(["inspect", str(tmp_path / "nowhere")]) == 2
