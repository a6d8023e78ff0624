"""Adopting weights trained on a GPU: working model files, their evaluation, and a correct model card."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from bioatt.core.volume import Volume
from bioatt.inference.denoiser import Denoiser
from bioatt.inference.models import read_model
from bioatt_training.cli import main
from bioatt_training.gpu.outputs import Outputs, load_arm
from bioatt_training.gpu.pack import read_pack
from bioatt_training.gpu.packing import pack_bank
from bioatt_training.gpu.train import train


@pytest.fixture
def trained(made_up_bank, tiny, tmp_path):
    """A bank, and the outputs of two arms trained for three steps."""
    bank = made_up_bank(train=3, slices=1)
    pack_bank(bank, tmp_path / "pack.npz", 5.0)
    pack = read_pack(tmp_path / "pack.npz")
    outputs = Outputs(tmp_path / "outputs")
    train(tiny(3), pack, outputs, arms=["bioatt", "base"], device=torch.device("cpu"), limit_s=600, say=lambda _: None)
    return bank, tmp_path / "outputs"


def call(bank, outputs, out):
    return main(["adopt", str(outputs), "--bank", str(bank), "--out", str(out)])


def test_arms_become_models_with_a_report_and_a_card_that_names_the_prior(trained, tmp_path, capsys):
    bank, outputs = trained
    assert call(bank, outputs, tmp_path / "out") == 0
    assert "bioatt-paper.safetensors" in capsys.readouterr().out
    model = read_model(tmp_path / "out" / "bioatt-paper.safetensors")
    assert len(model.descriptors) == 17
    assert model.metadata["training"]["patches_shown"] == 12
    assert model.metadata["training"]["patients"] == 3
    for name, value in load_arm(outputs, "bioatt").items():
        largest = value.float().abs().amax()  # int8 in steps of a channel's largest / 127
        assert (model.network.state_dict()[name] - value.float()).abs().max() <= largest / 254 + 1e-3 * largest
    assert model.metadata["training"]["prior_rise"] == 0.09
    assert read_model(tmp_path / "out" / "bioatt-paper-base.safetensors").descriptors == ()
    card = (tmp_path / "out" / "bioatt-paper.md").read_text()
    assert "not BiomedCLIP's" in card
    assert "12 patches of 55 px" in card
    assert "test-2" in card
    assert "/tmp" not in card
    results = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert [one["model"] for one in results["results"]] == ["bioatt-paper", "bioatt-paper-base"]
    report = (tmp_path / "out" / "report.md").read_text()
    assert "bioatt-paper-base − bioatt-paper" in report
    assert "| base | 12 | 3 |" in report


def test_the_adopted_model_denoises_a_volume(trained, tmp_path):
    assert call(*trained, tmp_path / "out") == 0
    hu = np.full((2, 70, 80), 40, np.int16)
    result = Denoiser(tmp_path / "out" / "bioatt-paper.safetensors", prior="uniform").denoise(Volume(hu))
    assert result.volume.shape == (2, 70, 80)


def test_a_patient_that_trained_is_no_test_patient(trained, tmp_path, capsys):
    bank, outputs = trained
    header = json.loads((bank / "bank.json").read_text())
    for one in header["slices"]:
        one["part"] = "test" if one["part"] == "train" else one["part"]
    (bank / "bank.json").write_text(json.dumps(header))
    assert call(bank, outputs, tmp_path / "out") == 2
    assert "train-0 was used in training and is a test patient" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_incomplete_outputs_are_named(trained, tmp_path, capsys):
    bank, outputs = trained
    (outputs / "weights-1.pt").unlink()
    assert call(bank, outputs, tmp_path / "out") == 2
    assert "weights-1.pt is missing" in capsys.readouterr().err
    shutil.rmtree(outputs)
    assert call(bank, outputs, tmp_path / "out") == 2
    assert "no train.json" in capsys.readouterr().err
