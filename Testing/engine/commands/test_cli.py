"""The contract of the command line: files, messages and exit status."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.cli import COMMANDS, build_parser, execute, main
from bioatt.inference.denoiser import Denoiser
from bioatt.io.images import read_volume, write_volume
from bioatt.priors import build_prior


def test_denoise_writes_the_volume_the_report_and_the_maps(denoise, scan, tmp_path):
    output, report, maps = tmp_path / "out.nii.gz", tmp_path / "report.json", tmp_path / "maps"
    status, _ = denoise(scan, output, "--report", str(report), "--attention", str(maps))
    assert status == 0
    result, source = read_volume(output), read_volume(scan)
    np.testing.assert_allclose(result.ijk_to_lps, source.ijk_to_lps, atol=1e-5)
    assert (result.hu != source.hu).any()
    said = json.loads(report.read_text())
    assert said["prior"]["source"] == "uniform"
    assert len(said["model"]["sha256"]) == 64
    assert len(said["noise_before_hu"]) == len(said["prior"]["probabilities"]) == 3
    assert {path.name for path in maps.iterdir()} == {"middle_unified.nrrd", "last_unified.nrrd"}


def test_slices_are_written_where_they_were(denoise, scan, tmp_path):
    output = tmp_path / "out.nrrd"
    assert denoise(scan, output, "--slices", "1:2")[0] == 0
    part, whole = read_volume(output), read_volume(scan)
    assert part.shape[0] == 1
    np.testing.assert_allclose(part.origin, (whole.ijk_to_lps @ [0, 0, 1, 1])[:3], atol=1e-6)


@pytest.mark.parametrize("name", ["once.nrrd", "once.mha", "once.nii.gz"])
def test_a_second_denoising_is_told(denoise, scan, tmp_path, name):
    once = tmp_path / name
    status, errors = denoise(scan, once)
    assert not any("before" in line for line in errors)
    status, errors = denoise(once, tmp_path / "twice.nrrd")
    assert status == 0
    assert any("BioAttDenoise already denoised this volume" in line for line in errors)


def test_a_prior_written_by_the_command_is_read_by_the_command(denoise, scan, tmp_path):
    table = tmp_path / "prior.json"
    assert main(["prior", str(scan), "--source", "random:3", "--json", str(table)]) == 0
    first, second, report = tmp_path / "a.nrrd", tmp_path / "b.nrrd", tmp_path / "report.json"
    assert denoise(scan, first, "--prior", str(table), "--report", str(report))[0] == 0
    made_of = json.loads(report.read_text())["prior_provenance"]
    assert made_of["descriptor_set"]["name"] == "paper17"
    assert made_of["prior_files_sha256"] == [hashlib.sha256(table.read_bytes()).hexdigest()]
    assert denoise(scan, second, "--prior", "random:3")[0] == 0
    assert np.abs(read_volume(first).hu.astype(int) - read_volume(second).hu).max() <= 1


def _write_set(path, names):
    path.write_text(json.dumps({"name": "mine", "descriptors": [{"name": name} for name in names]}))


def test_a_descriptor_set_of_the_users_own(denoise, scan, tmp_path):
    """The prior covers the user's descriptors; the network receives only its own, in its own order."""
    own, report = tmp_path / "mine.json", tmp_path / "report.json"
    names = load_descriptor_set("paper17").descriptors
    _write_set(own, ["tumour", *reversed(names)])
    options = ["--prior", "random:3", "--descriptors", str(own), "--report", str(report)]
    assert denoise(scan, tmp_path / "out.nrrd", *options)[0] == 0
    said = json.loads(report.read_text())["prior"]
    assert said["descriptors"] == list(names)
    drawn = build_prior("random:3", descriptors=load_descriptor_set(own)).probabilities(read_volume(scan))
    np.testing.assert_allclose(said["probabilities"], drawn.aligned_to(names).p, atol=1e-5)
    np.testing.assert_allclose(np.sum(said["probabilities"], axis=1), 1, atol=1e-4)
    made_of = json.loads(report.read_text())["prior_provenance"]
    assert made_of["descriptor_set"] == {"name": "mine", "sha256": load_descriptor_set(own).text_hash}
    assert made_of["prior_files_sha256"] == []


def test_a_set_that_lacks_the_models_descriptors_is_refused_with_the_list(denoise, scan, tmp_path):
    own = tmp_path / "mine.json"
    names = load_descriptor_set("paper17").descriptors
    _write_set(own, names[2:])
    status, lines = denoise(scan, tmp_path / "out.nrrd", "--descriptors", str(own))
    assert (status, len(lines)) == (2, 1)
    assert f"descriptor set mine lacks {names[0]}, {names[1]}: add them" in lines[0]
    own.write_text("{")
    status, lines = denoise(scan, tmp_path / "out.nrrd", "--descriptors", str(own))
    assert (status, len(lines)) == (2, 1)
    assert "descriptor set mine.json is not JSON" in lines[0]
    status, lines = denoise(scan, tmp_path / "out.nrrd", "--descriptors", str(own), "--report", str(own))
    assert status == 2
    assert "already an input" in lines[0]


@pytest.mark.parametrize(
    ("option", "asked"), [(("--strength", "medium"), "medium"), (("--target-noise", "15"), "15 HU")]
)
def test_word_and_number_of_a_strength_are_told(denoise, scan, tmp_path, option, asked):
    report = tmp_path / "report.json"
    assert denoise(scan, tmp_path / "out.nrrd", *option, "--report", str(report))[0] == 0
    said = json.loads(report.read_text())
    assert said["strength_asked"] == asked
    assert 0 <= said["strength"] <= 1
    header = (tmp_path / "out.nrrd").read_bytes()[:2000].decode("latin1")
    assert f"strength {asked} ({said['strength']:.2f})" in header


def test_a_strength_and_a_target_are_not_both_given(denoise, scan, tmp_path):
    with pytest.raises(SystemExit) as error:
        denoise(scan, tmp_path / "out.nrrd", "--strength", "low", "--target-noise", "5")
    assert error.value.code == 2


def test_the_engines_threads_do_not_spin_unless_the_user_says_so(monkeypatch, capsys):
    """The variable must be set before torch is imported, because torch reads it only once."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert main(["models"]) == 0
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert main(["models"]) == 0
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_attention_of_chosen_organs(make_model, scan, tmp_path):
    make_model()
    model = str(tmp_path / "tiny.safetensors")
    folder = tmp_path / "maps"
    options = ["--model", model, "--prior", "uniform", "--stage", "last", "--organs", "liver, spine"]
    assert main(["attention", str(scan), str(folder), *options]) == 0
    assert {path.name for path in folder.iterdir()} == {"last_liver.nrrd", "last_spine.nrrd", "last_unified.nrrd"}
    assert sitk.ReadImage(str(folder / "last_liver.nrrd")).GetPixelID() == sitk.sitkUInt8

    other = tmp_path / "contributions"
    assert main(["attention", str(scan), str(other), *options, "--view", "contribution"]) == 0
    stored, part = (sitk.GetArrayFromImage(sitk.ReadImage(str(f / "last_liver.nrrd"))) for f in (folder, other))
    assert stored.any()
    np.testing.assert_allclose(part, stored / 255 / 17, atol=1e-6)


def _colour(path):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 30, 30, 3), np.uint8), isVector=True), str(path))


def _four_dimensions(path):
    sitk.WriteImage(sitk.JoinSeries([sitk.Image([30, 30, 2], sitk.sitkInt16)] * 2), str(path))


def _array(values):
    return lambda path: sitk.WriteImage(sitk.GetImageFromArray(values), str(path))


NOISE = np.random.default_rng(0).normal(size=(2, 30, 30)).astype(np.float32)
BROKEN = {
    "colour": _colour,
    "4-D": _four_dimensions,
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(b"NRRD0004\ntype: short\ndimension: 3\nsizes: 9 9 9\n\n123"),
    "text": lambda path: path.write_text("this is no CT"),
    "NaN": _array(np.where(NOISE > 2, np.nan, NOISE * 100)),
    "Inf": _array(np.where(NOISE > 2, np.inf, NOISE * 100)),
    "0 to 1": _array(np.abs(NOISE) / 10),
    "0 to 255": _array(np.clip(np.abs(NOISE) * 120, 0, 255).astype(np.uint8)),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_ct_is_refused_in_one_line(denoise, tmp_path, kind):
    source, output = tmp_path / "bad.nrrd", tmp_path / "out.nrrd"
    BROKEN[kind](source)
    status, lines = denoise(source, output)
    assert (status, len(lines)) == (2, 1), lines
    assert "bad.nrrd" in lines[0]
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--strength", "2"], "strength"),
        (["--strength", "strong"], "low, medium, high"),
        (["--target-noise", "0"], "target noise"),
        (["--slices", "5:9"], "--slices"),
        (["--slices", "x"], "--slices"),
        (["--prior", "astrology"], "astrology"),
        (["--prior", "missing.json"], "missing.json"),
        (["--device", "cuda:9"], "cuda:9"),
        (["--precision", "int4"], "int4"),
        (["--tile", "0"], "tile"),
        (["--model", "nonesuch"], "nonesuch"),
        (["--report", "nowhere/report.json"], "folder"),
        (["--unknown"], "--unknown"),
    ],
)
def test_wrong_options_are_refused_in_one_line(denoise, scan, tmp_path, options, word):
    output = tmp_path / "out.nrrd"
    try:
        status, lines = denoise(scan, output, *options)
    except SystemExit as exit_:  # from argparse
        status, lines = exit_.code, [word]
    assert (status, len(lines)) == (2, 1), lines
    assert word in lines[0]
    assert not output.exists()


def test_cancel_writes_nothing(denoise, scan, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Denoiser, "denoise", interrupted)
    status, lines = denoise(scan, tmp_path / "out.nrrd")
    assert status == 130
    assert "cancelled" in lines[-1]
    assert not (tmp_path / "out.nrrd").exists()


def test_our_own_faults_are_one_line_too(denoise, scan, tmp_path, monkeypatch):
    monkeypatch.setattr(Denoiser, "denoise", lambda *_, **__: 1 / 0)
    status, lines = denoise(scan, tmp_path / "out.nrrd")
    assert (status, len(lines)) == (1, 1)
    assert "internal error" in lines[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_needs_no_torch_for_it(command):
    code = f"import sys; from bioatt.cli import main; main(['{command}', '--help'])"
    check = f"try:\n {code}\nexcept SystemExit as e:\n assert e.code == 0\nassert 'torch' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, encoding="utf-8")
    assert result.returncode == 0, result.stderr
    assert "usage: bioatt" in result.stdout


def test_models_are_listed_and_described(capsys):
    assert main(["models"]) == 0
    assert "bioatt-fast" in capsys.readouterr().out
    assert main(["models", "info", "bioatt-fast"]) == 0
    assert json.loads(capsys.readouterr().out)["arm"] == "bioatt"


def test_the_prior_s_places_are_true_or_not_said(gapped, scan, tmp_path, capfd):
    """Positions in mm appear only for even spacing; a file stored head first triggers a note on slice numbering."""
    assert main(["prior", str(gapped), "--source", "uniform"]) == 0
    said = capfd.readouterr()
    assert "slices missing" in said.err
    assert " mm" not in said.out
    assert main(["prior", str(scan), "--source", "uniform"]) == 0
    said = capfd.readouterr()
    assert (said.out.count(" mm"), said.err) == (3, "")
    volume = read_volume(scan)
    flipped = replace(volume, hu=volume.hu[::-1], direction=np.diag([1.0, 1.0, -1.0]), slice_ids=())
    write_volume(flipped, tmp_path / "flipped.nrrd")
    assert main(["prior", str(tmp_path / "flipped.nrrd"), "--source", "uniform"]) == 0
    assert "from the head" in capfd.readouterr().err


def test_prior_of_one_series_among_several(tmp_path, make_volume, capfd):
    assert main(["prior", str(tmp_path), "--series", "3"]) == 2
    assert "not a DICOM image" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("resumes", "said"), [(False, "no partial output was left"), (True, "run the same command to resume")]
)
def test_a_cancelled_command_says_what_is_left(monkeypatch, capsys, resumes, said):
    def interrupted(_) -> None:
        raise KeyboardInterrupt

    parts = {"HELP": "help", "add_arguments": lambda parser: None, "run": interrupted}
    module = SimpleNamespace(**parts, **({"RESUMES": True} if resumes else {}))
    monkeypatch.setitem(sys.modules, "made_up.work", module)
    monkeypatch.setitem(sys.modules, "made_up", SimpleNamespace(__path__=[]))
    parser = build_parser("made-up", "", "made_up", ["work"])
    assert execute(parser, ["work"]) == 130
    assert said in capsys.readouterr().err


def test_what_is_printed_is_utf_8_whatever_the_system_s_code_page(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252"))
    parser = SimpleNamespace(
        prog="bioatt", parse_args=lambda _: SimpleNamespace(verbose=False, resumes=False, run=lambda _: print("≤ 3 Å…"))
    )
    assert execute(parser, []) == 0
    sys.stdout.flush()
    assert written.getvalue().decode("utf-8").split("\n")[0].strip() == "≤ 3 Å…"
