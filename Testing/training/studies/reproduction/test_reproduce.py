"""From a bank to the report: small runs, a failing run, an interrupted call, and scans not yet prepared."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest

from bioatt.core.errors import InputError
from bioatt_training.cli import main
from bioatt_training.fit.history import COLUMNS
from bioatt_training.studies.reproduction import report as reporting
from bioatt_training.studies.reproduction import reproduce as module
from bioatt_training.studies.reproduction.cost import Costs
from bioatt_training.studies.reproduction.reproduce import Wish, reproduce
from bioatt_training.studies.reproduction.subprocess_run import RunError

ARMS = ("base", "uniform", "random", "bioatt")
FIGURES = ("rmse", "psnr", "ssim", "rmse_low", "psnr_low", "ssim_low")


@pytest.fixture
def pretended(monkeypatch):
    """Replaces training: `calls` lists the runs, arms in `failing` fail, and the costs are fixed."""
    calls, failing = [], set()

    def run_in_subprocess(function, *args, log):
        if not hasattr(args[0], "network"):
            return Costs({config.network.arm: 0.01 for config in args[0]}, 0.001, 0.01, 0.1)
        config, folder, _ = args
        calls.append((config.network.arm, config.run.seed))
        if config.network.arm in failing:
            raise RunError("ValueError: made to fail")
        level = {"rmse": 0.05, "rmse_low": 0.09, "psnr": 26.0, "psnr_low": 21.0, "ssim": 0.7, "ssim_low": 0.5}
        group = {name: {"patches": 4, "mean": level[name], "sd": 0.01} for name in FIGURES}
        rng = np.random.default_rng(len(calls))
        rows = [
            {
                "patient": f"test-{n}",
                "slices": 1,
                "values": {f"protocol/{name}": level[name] * (1 + 0.01 * rng.normal()) for name in FIGURES},
                "protocol": group,
            }
            for n in range(3)
        ]
        evaluation = {"results": [{"model": "m", "patients": rows, "protocol": group}]}
        (folder / "evaluation.json").write_text(json.dumps(evaluation))
        with (folder / "metrics.csv").open("w", newline="") as stream:
            lines = [[epoch, epoch * 4, *[0.5 + 0.01 * epoch] * (len(COLUMNS) - 2)] for epoch in (1, 2, 3)]
            csv.writer(stream).writerows([COLUMNS, *lines])
        record = {"arm": config.network.arm, "seed": config.run.seed, "steps": 12, "device": "cpu", "attention": []}
        record |= {"seconds": {"fit": 6.0, "judge": 2.0}, "peak_mb": 700.0, "interrupted": False}
        (folder / "run.json").write_text(json.dumps(record))
        return record

    monkeypatch.setattr(module, "run_in_subprocess", run_in_subprocess)
    return calls, failing


def test_seeds_come_one_after_the_other_and_failures_do_not_stop(made_up_bank, tmp_path, pretended, monkeypatch):
    monkeypatch.setattr(reporting, "draw_comparisons", lambda *_: [])  # saves the figures of eleven reports
    calls, failing = pretended
    failing.add("uniform")
    said = []
    results = reproduce(
        made_up_bank(), tmp_path / "out", Wish(ARMS, 2, 4, 1.0), tmp_path / "report", say=lambda line: said.append(line)
    )
    assert calls == [(arm, seed) for seed in (1, 2) for arm in ARMS]
    assert set(results.failures) == {("uniform", 1), ("uniform", 2)}
    report = (tmp_path / "report" / "README.md").read_text()
    assert "**6 of 8 runs have finished**" in report
    assert "uniform, seed 2, failed: ValueError: made to fail" in report
    assert any("failed (ValueError: made to fail)" in line for line in said)
    failing.clear()
    calls.clear()
    again = reproduce(tmp_path / "bank", tmp_path / "out", Wish(ARMS, 2, 4, 1.0), tmp_path / "report")
    assert calls == [("uniform", 1), ("uniform", 2)]
    assert len(again.runs) == 8
    assert "runs have finished" not in (tmp_path / "report" / "README.md").read_text()


def test_a_stopped_reproduction_has_a_report(made_up_bank, tmp_path, pretended, monkeypatch):
    working = module.run_in_subprocess

    def stopped(function, *args, log):
        if getattr(args[0], "run", None) and args[0].run.name == "random":
            raise KeyboardInterrupt
        return working(function, *args, log=log)

    monkeypatch.setattr(module, "run_in_subprocess", stopped)
    with pytest.raises(KeyboardInterrupt):
        reproduce(made_up_bank(), tmp_path / "out", Wish(ARMS, 1, 4, 1.0), tmp_path / "report")
    assert "**2 of 4 runs have finished**" in (tmp_path / "report" / "README.md").read_text()


@pytest.mark.parametrize("place", ["--out", "--report"])
def test_a_file_in_the_place_of_a_folder_is_said_before_anything_runs(made_up_bank, tmp_path, pretended, capsys, place):
    calls, _ = pretended
    (tmp_path / "text.txt").write_text("mine")
    places = {"--out": str(tmp_path / "out"), "--report": str(tmp_path / "report"), place: str(tmp_path / "text.txt")}
    call = [word for option in places.items() for word in option]
    assert main(["reproduce", "--data", str(made_up_bank()), *call]) == 2
    assert "text.txt is a file: name a folder" in capsys.readouterr().err
    assert not calls


def test_the_report_s_numbers(made_up_bank, tmp_path, pretended):
    bank = made_up_bank()
    results = reproduce(bank, tmp_path / "out", Wish(ARMS, 2, 4, 1.0, command="the call"), tmp_path / "report")
    report = (tmp_path / "report" / "README.md").read_text()
    assert "| base | 2 | 0.0500 ± 0.0100 | 26.00 ± 0.01 | 0.7000 ± 0.0100 |" in report
    mean, low, high = results.difference("bioatt", "base", "protocol/ssim")["difference"]
    assert f"{mean:+.5f} [{low:+.5f}, {high:+.5f}]" in report
    assert "| bioatt | 12 | 6 | 0.500 | 2 | 700 |" in report
    assert "the call" in report
    numbers = json.loads((tmp_path / "report" / "results.json").read_text())
    assert len(numbers["runs"]) == 8
    assert numbers["sentence"] in report
    assert not re.search(r"(?<![\w.])/(work|tmp|home|root)/", report + json.dumps(numbers))
    for picture in re.findall(r"\]\((\S+\.png)\)", report):
        assert (tmp_path / "report" / picture).is_file()


@pytest.mark.parametrize(
    ("layout", "shared", "said"),
    [
        (
            "single scans",
            False,
            ("single scans with quarter-dose noise inserted. The split is", "held out from all runs"),
        ),
        (
            "Mayo 2016",
            True,
            ("pairs of low and full dose. Training and test share patients", "slices were used to train all runs"),
        ),
        (None, False, ("without a record of how its low dose was generated. The split is", "held out from all runs")),
    ],
)
def test_the_report_says_what_the_bank_is(made_up_bank, tmp_path, pretended, layout, shared, said):
    bank = made_up_bank(train=1, validation=1, test=1)
    header = json.loads((bank / "bank.json").read_text())
    header |= {"layout": layout} if layout else {}
    for one in header["slices"] if shared else []:
        one["patient"] = "p"
    (bank / "bank.json").write_text(json.dumps(header))
    reproduce(bank, tmp_path / "out", Wish(("base",), 1, 4, 1.0), tmp_path / "report")
    report = (tmp_path / "report" / "README.md").read_text()
    assert all(words in report for words in said)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"arms": ("base", "best")}, "best"),
        ({"arms": ()}, "unknown"),
        ({"seeds": 0}, "1 or more"),
        ({"minutes": 0.0}, "budget"),
    ],
)
def test_wrong_wishes_are_refused(wish, message):
    with pytest.raises(InputError, match=message):
        Wish(**wish)


def test_scans_are_prepared_first(tmp_path, monkeypatch, pretended, made_up_bank):
    """If the data folder is not a bank, the command prepares one in OUT, once."""
    import shutil

    from bioatt_training.data import layouts
    from bioatt_training.data import prepare as preparing

    made, bank = [], made_up_bank()

    def prepare(listing, folder, plan, *, say):
        made.append((listing, plan.split))
        shutil.copytree(bank, folder)

    monkeypatch.setattr(layouts, "find_scans", lambda folder: folder.name)
    monkeypatch.setattr(preparing, "prepare", prepare)
    (tmp_path / "scans").mkdir()
    call = ["reproduce", "--data", str(tmp_path / "scans"), "--out", str(tmp_path / "out"), "--arms", "base"]
    for _ in range(2):
        assert main([*call, "--seeds", "1", "--budget", "1"]) == 0
    assert made == [("scans", "patients")]
    assert (tmp_path / "out" / "report" / "README.md").is_file()


@pytest.mark.slow
def test_from_a_bank_to_the_report(made_up_bank, tmp_path, capsys):
    """Three real runs of about one step, each in a separate process, and their attention maps."""
    bank, out = made_up_bank(test=1), tmp_path / "out"
    call = ["reproduce", "--data", str(bank), "--out", str(out), "--budget", "0.01", "--filters", "4", "--seeds", "1"]
    assert main([*call, "--arms", "random,uniform,bioatt"]) == 0
    assert "3 runs, 0 failed" in capsys.readouterr().out
    report = out / "report"
    for name in ("figure7", "attention-middle", "attention-last"):
        assert (report / f"{name}.png").stat().st_size > 5000
    text = (report / "README.md").read_text()
    assert "Whether the anatomical prior helps cannot be" in text
    runs = json.loads((report / "results.json").read_text())["runs"]
    assert [run["arm"] for run in runs] == ["random", "uniform", "bioatt"]
    for run in runs:
        assert {one["stage"] for one in run["attention"]} == {"middle", "last"}
        assert 0 < run["attention"][0]["mean"] < 1
        assert run["peak_mb"] > 100
    assert main([*call, "--arms", "random,uniform,bioatt"]) == 0  # nothing is left to do
    assert main([*call[:-4], "--filters", "8", "--seeds", "1"]) == 2
    assert "4 filters" in capsys.readouterr().err
