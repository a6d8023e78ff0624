"""`bioatt-train benchmark` from a bank and a model file to tables and figures."""

from __future__ import annotations

import json
import re

import pytest

from bioatt.core.strength import DEFAULT_STRENGTH
from bioatt_training.cli import main
from bioatt_training.studies.benchmark import figures


@pytest.mark.slow
def test_a_quick_benchmark_writes_tables_and_figures_and_goes_on(made_up_bank, shifting_model, tmp_path, monkeypatch):
    bank, out = made_up_bank(slices=1), tmp_path / "out"
    model = shifting_model("shift", 4.0)
    command = ["benchmark", str(bank), "--out", str(out), "--models", str(model), "--quick"]
    assert main(command) == 0
    results = json.loads((out / "results.json").read_text())
    (name,) = results["models"]
    quarter = results["patients"]["0.25"]
    assert quarter["all"]["low dose"]["psnr_db"]["patients"] == 3
    whole = results["whole"][name]
    baselines = {"curvature diffusion", "curvature diffusion, blended", "bilateral", "bilateral, blended"}
    assert set(quarter["with baselines"]["table"]) == {"low dose", name, whole, *baselines}
    assert quarter["limits"]["oracle_db"]["mean"] > quarter["all"]["low dose"]["psnr_db"]["mean"]
    before, after, all_of_it = (quarter["all"][one]["bias_hu soft tissue"]["mean"] for one in ("low dose", name, whole))
    assert after - before == pytest.approx(round(4 * DEFAULT_STRENGTH), abs=0.1)
    assert all_of_it - before == pytest.approx(4, abs=0.1)
    assert results["safety"][whole]["discs"]["soft tissue"]["mean"] == pytest.approx(4, abs=0.2)
    assert 0.3 <= results["strengths"][name]["default"] <= 1
    text = (out / "README.md").read_text()
    assert "Research use only" in text
    shift = f"{round(4 * DEFAULT_STRENGTH):+.2f} "  # the output is rounded to whole HU
    assert re.search(rf"\| shift \| soft tissue \| \d+ \| {re.escape(shift)}", text)
    assert "| curvature diffusion |" in text
    assert (out / "spectra.png").stat().st_size > 1000
    kept = (out / "work" / "measured.jsonl").read_bytes()
    monkeypatch.setattr(figures, "write_figures", lambda *_: {})  # slow, and already tested above
    assert main(command) == 0
    assert (out / "work" / "measured.jsonl").read_bytes() == kept


def test_two_models_of_one_name_are_refused(made_up_bank, shifting_model, tmp_path, capsys):
    model = str(shifting_model())
    bank = str(made_up_bank())
    assert main(["benchmark", bank, "--out", str(tmp_path / "out"), "--models", model, model, "--no-baselines"]) == 2
    assert "rename" in capsys.readouterr().err


def test_a_bank_without_test_slices_is_refused(made_up_bank, tmp_path, capsys):
    bank = str(made_up_bank(test=0))
    assert main(["benchmark", bank, "--out", str(tmp_path / "out"), "--models", "bioatt-fast", "--no-baselines"]) == 2
    assert "test slices" in capsys.readouterr().err
