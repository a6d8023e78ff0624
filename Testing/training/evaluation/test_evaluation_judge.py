"""Evaluation by patient: known shifts give known metrics, interrupted calls resume, models are compared in pairs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bioatt.core.errors import InputError
from bioatt.inference.models import read_model
from bioatt_training.cli import main
from bioatt_training.data.bank import Bank
from bioatt_training.evaluation import judge
from bioatt_training.evaluation.compare import evaluate_all
from bioatt_training.evaluation.judge import Judgement, evaluate, slices_by_patient, spread
from bioatt_training.evaluation.table import comparison, report

BANK = Judgement(prior="bank")


def test_a_network_that_does_nothing_changes_nothing(made_up_bank, shifting_model):
    result = evaluate(str(shifting_model()), Bank(made_up_bank()), BANK)
    assert [row["patient"] for row in result["patients"]] == ["test-0", "test-1", "test-2"]
    mean = result["mean"]
    for name in ("soft tissue/psnr_db", "bone/ssim", "protocol/rmse", "protocol/ssim"):
        assert mean[name] == pytest.approx(mean[f"{name}_low"], rel=1e-4)
    assert mean["noise/output_over_low"][0] == 1
    assert result["protocol"]["rmse"]["patches"] == 3 * 2 * 4
    assert result["sd"]["soft tissue/psnr_db"] > 0


def test_the_low_dose_has_the_dose_s_noise(made_up_bank, shifting_model):
    """The bank stores 40 HU of noise for a dose fraction of 0.25; a fraction of 0.1 has √3 times that."""
    bank, model = Bank(made_up_bank()), str(shifting_model())
    for dose, sigma in ((0.25, 40), (0.1, 40 * np.sqrt(3))):
        rmse = evaluate(model, bank, Judgement(dose=dose, prior="bank"))["mean"]["full/rmse_hu_low"][0]
        assert rmse == pytest.approx(sigma, rel=0.15)  # air is clipped at −1024


def test_a_strength_scales_the_change_of_slices_and_patches(made_up_bank, shifting_model):
    bank, model = Bank(made_up_bank()), str(shifting_model(shift_hu=6))
    plain = evaluate(model, bank, BANK)["mean"]
    more = evaluate(model, bank, Judgement(prior="bank", strength=1 / (1 - 0.25)))["mean"]
    before = evaluate(str(shifting_model("none")), bank, BANK)["mean"]["bias_hu/soft tissue"][0]
    assert plain["bias_hu/soft tissue"][0] - before == pytest.approx(6, abs=0.05)
    assert more["bias_hu/soft tissue"][0] - before == pytest.approx(8, abs=0.05)
    squares = [found["protocol/rmse"][0] ** 2 for found in (plain, more)]
    assert squares[1] > squares[0]


@pytest.mark.parametrize("weighting", ["anatomical", "uniform", "random"])
def test_every_weighting_can_be_judged_again_with_the_same_result(made_up_bank, shifting_model, weighting):
    bank, model = Bank(made_up_bank(test=1)), str(shifting_model(arm="bioatt", weighting=weighting))
    first, second = (evaluate(model, bank, Judgement(prior="bank", whole=False)) for _ in range(2))
    assert first["patients"] == second["patients"]
    assert "soft tissue/psnr_db" not in first["mean"]


def test_slices_have_their_own_rows_of_the_bank(made_up_bank, shifting_model):
    bank = Bank(made_up_bank())
    one = judge.Judge(read_model(shifting_model(arm="bioatt")), bank, BANK)
    for index in bank.indices("test"):
        _, _, volume = one._images(index)
        assert one._prior(index, volume).argmax() == index % 17


def test_slices_are_taken_evenly(made_up_bank):
    bank = Bank(made_up_bank(slices=7, test=1))
    first = bank.indices("test")[0]
    assert slices_by_patient(bank, Judgement(per_patient=1)) == {"test-0": [first + 3]}
    assert slices_by_patient(bank, Judgement(per_patient=3)) == {"test-0": [first + 1, first + 3, first + 5]}
    with pytest.raises(InputError, match="no test slices"):
        evaluate("none", _without_test(bank), BANK)


def test_items_are_spread_over_the_whole():
    assert spread(range(40), 4) == [5, 15, 25, 35]
    assert spread([3, 4], 5) == [3, 4]


def _without_test(bank):
    bank.slices = [one for one in bank.slices if one.part != "test"]
    return bank


def test_an_interrupted_call_goes_on(made_up_bank, shifting_model, tmp_path, monkeypatch):
    bank, path = Bank(made_up_bank()), tmp_path / "judged.json"
    models = [read_model(shifting_model(name, shift)) for name, shift in (("a", 0), ("b", 5))]
    whole = evaluate_all(models, bank, BANK)
    real, calls = judge.Judge.patient, []

    def counted(self, indices):
        calls.append(self.model.name)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(self, indices)

    monkeypatch.setattr(judge.Judge, "patient", counted)
    with pytest.raises(KeyboardInterrupt):
        evaluate_all(models, bank, BANK, path)
    assert evaluate_all(models, bank, BANK, path) == whole
    assert calls == ["a"] * 3 + ["b"] * 2 + ["b"] * 2
    assert json.loads(path.read_text())["differences"][0]["figures"]["protocol/rmse"]["pairs"] == 3


def test_another_judgement_begins_anew(made_up_bank, shifting_model, tmp_path):
    bank, path, models = Bank(made_up_bank(test=1)), tmp_path / "judged.json", [read_model(shifting_model())]
    for dose in (0.25, 0.5):
        (found,) = evaluate_all(models, bank, Judgement(prior="bank", dose=dose, whole=False), path)
        expected = evaluate(models[0], bank, Judgement(prior="bank", dose=dose, whole=False))
        assert found["patients"] == expected["patients"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8\x00\x01",
        b"patient,score\n1,2\n",
        b"[1, 2]",
        b'{"results": []}',
        b'{"results": [{"model": "m"}]}',
        b'{"results": 3}',
    ],
)
def test_no_other_file_is_replaced(made_up_bank, tmp_path, capsys, content):
    """The file is refused before the model is loaded."""
    path = tmp_path / "mine.json"
    path.write_bytes(content)
    assert main(["evaluate", str(made_up_bank(test=1)), "--model", "none.safetensors", "--json", str(path)]) == 2
    assert "mine.json is not a result of bioatt-train evaluate: give another file" in capsys.readouterr().err
    assert path.read_bytes() == content


def test_the_bank_is_not_replaced(made_up_bank, shifting_model):
    folder = made_up_bank(test=1)
    before = (folder / "bank.json").read_bytes()
    assert main(["evaluate", str(folder), "--model", str(shifting_model()), "--json", str(folder / "bank.json")]) == 2
    assert (folder / "bank.json").read_bytes() == before


def test_the_tables_say_the_numbers(made_up_bank, shifting_model):
    bank = Bank(made_up_bank(slices=1))
    results = evaluate_all([read_model(shifting_model(n, s)) for n, s in (("a", 0), ("b", 9))], bank, BANK)
    text = report(results[0])
    assert f"{results[0]['protocol']['ssim']['mean']:.4f}" in text
    assert "| test-2 | 1 |" in text
    assert "| soft tissue -160 … 240 |" in text
    difference = results[1]["mean"]["protocol/rmse"][0] - results[0]["mean"]["protocol/rmse"][0]
    assert f"| protocol/rmse | 3 | {difference:+.4f} [" in comparison(results)


def test_the_command(made_up_bank, shifting_model, tmp_path, capsys):
    bank, path = str(made_up_bank(test=2, slices=1)), tmp_path / "out.json"
    models = [str(shifting_model("a")), str(shifting_model("b", 5))]
    assert main(["evaluate", bank, "--model", *models, "--prior", "bank", "--json", str(path)]) == 0
    out = capsys.readouterr().out
    assert "## a" in out
    assert "## b − a" in out
    assert len(json.loads(path.read_text())["results"]) == 2
    assert main(["evaluate", bank, "--model", models[0], "--dose", "1.5"]) == 2
    assert "fraction" in capsys.readouterr().err
