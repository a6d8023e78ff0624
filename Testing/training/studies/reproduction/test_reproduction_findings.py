"""The report's statements follow the numbers, tested with made-up results in both directions."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from bioatt_training.studies.reproduction.findings import findings, prior_sentence
from bioatt_training.studies.reproduction.results import Results, Run

PATIENTS = [f"p{n}" for n in range(12)]
LEVEL = {"rmse": 0.04, "psnr": 29.0, "ssim": 0.7}


def run(arm, seed, gain=0.0, *, low_rmse=0.08, ssim=(0.5, 0.6, 0.7), saturated=0.1, spread=0.1, epoch=3):
    """A run whose SSIM is `gain` above, RMSE gain/10 below and PSNR 10·gain above those of a run without gain."""
    patient = np.random.default_rng(7).normal(0, 0.02, len(PATIENTS))  # the same in every run
    noise = np.random.default_rng([seed, len(arm), ord(arm[0])]).normal(0, 1e-4, (3, len(PATIENTS)))
    rows = []
    for k, name in enumerate(PATIENTS):
        values = {
            "protocol/rmse": LEVEL["rmse"] + patient[k] / 4 - gain / 10 + noise[0, k] / 10,
            "protocol/psnr": LEVEL["psnr"] + 40 * patient[k] + 10 * gain + 10 * noise[1, k],
            "protocol/ssim": LEVEL["ssim"] + patient[k] + gain + noise[2, k],
            "protocol/rmse_low": low_rmse,
            "full/rmse_hu": 20 - 100 * gain,
        }
        rows.append({"patient": name, "slices": 1, "values": values, "protocol": {}})
    history = [{"epoch": n + 1, "val_ssim": value} for n, value in enumerate(ssim)]
    attention = [{"epoch": epoch, "stage": "middle", "saturated": saturated, "organ_spread": spread}]
    return Run({"patients": rows, "protocol": {}}, history, {"attention": attention})


def of_one_patient(found):
    """The same runs, evaluated on the first patient only."""
    runs = {key: replace(one, evaluation={"patients": one.evaluation["patients"][:1]}) for key, one in found.items()}
    return Results(runs)


def results(seeds=3, **gains):
    """Runs of the named arms with the given gains."""
    return Results({(arm, seed): run(arm, seed, gain) for arm, gain in gains.items() for seed in range(1, seeds + 1)})


@pytest.mark.parametrize(("gain", "said"), [(0.003, "prior helps here"), (-0.003, "prior harms here")])
def test_the_sentence_follows_the_numbers(gain, said):
    sentence = prior_sentence(results(bioatt=gain, uniform=0, random=0))
    assert said in sentence
    assert "3 seeds, 12 patients" in sentence
    assert "; RMSE" in sentence or "(RMSE" in sentence
    assert f"{gain:+.3f}" in sentence


def test_seeds_that_do_not_agree_show_no_effect():
    found = dict(results(bioatt=0, uniform=0, random=0).runs)
    for seed, gain in ((1, 0.003), (2, 0.001), (3, -0.002)):
        found["bioatt", seed] = run("bioatt", seed, gain)
    sentence = prior_sentence(Results(found))
    assert "No effect of the anatomical prior on SSIM can be shown" in sentence
    assert "are ruled out" in sentence
    assert "RMSE" not in sentence


def test_controls_that_differ_are_said_to():
    assert "controls do not agree" in prior_sentence(results(bioatt=0.003, uniform=0, random=0.006))


def test_one_seed_and_too_short_runs_prove_nothing():
    one = results(1, bioatt=0.003, uniform=0, random=0, whole=-0.1)
    assert "cannot be determined from one seed" in prior_sentence(one)
    assert {finding.verdict for finding in findings(one)[:6]} <= {"open", "not run"}
    short = {(arm, n): run(arm, n, low_rmse=0.01) for arm in ("bioatt", "uniform", "random") for n in (1, 2)}
    assert "too short to learn" in prior_sentence(Results(short))
    assert {finding.verdict for finding in findings(Results(short))[:6]} <= {"open", "not run"}


def test_one_patient_proves_nothing():
    every = {"base": -0.005, "channel": 0.004, "spatial": 0.001, "whole": -0.01, "uniform": 0, "random": 0}
    one = of_one_patient(results(bioatt=0.003, **every).runs)
    assert "cannot be determined from one patient" in prior_sentence(one)
    assert "3 seeds, 1 patient)" in prior_sentence(one)
    assert {finding.verdict for finding in findings(one)[:6]} == {"open"}
    both = of_one_patient(results(1, bioatt=0.003, uniform=0, random=0).runs)
    assert "nan" not in prior_sentence(both) + "".join(finding.found for finding in findings(both))


def test_what_has_not_run_is_said():
    assert "cannot be said yet" in prior_sentence(results(bioatt=0.1))
    assert "only uniform weights have run" in prior_sentence(results(bioatt=0.003, uniform=0))
    assert findings(results(base=0, uniform=0))[3].verdict == "not run"


def test_claims_follow_the_numbers():
    found = results(base=-0.005, channel=0.004, spatial=0.001, whole=-0.01, uniform=0, random=0, bioatt=0.003)
    verdicts = [finding.verdict for finding in findings(found)]
    assert verdicts[0] == "agrees"  # attention over base
    assert verdicts[1] == "does not agree"  # channel's SSIM is above BioAtt's here
    assert verdicts[2] == "agrees"  # channel before BioAtt
    assert verdicts[3] == "agrees"  # patches over whole slices
    assert verdicts[4] == "agrees"  # BioAtt's SSIM over its controls
    assert verdicts[5] == "agrees"  # same RMSE and PSNR: 0.0003 and 0.03 dB
    otherwise = results(base=0.005, channel=0, spatial=0, whole=0.02, uniform=0.03, random=0.03, bioatt=0)
    assert [finding.verdict for finding in findings(otherwise)][:6] == [
        *["does not agree"] * 2,
        "open",
        *["does not agree"] * 3,
    ]
    assert "on whole test slices RMSE +2.00 HU" in findings(otherwise)[3].found


def test_courses_and_attention_follow_the_numbers():
    rising, falling = (0.5, 0.6, 0.7), (0.5, 0.7, 0.6)
    as_paper = {
        "bioatt": {"ssim": rising, "saturated": 0.1, "spread": 0.2},
        "spatial": {"ssim": falling},
        "uniform": {"saturated": 0.9},
        "random": {"saturated": 0.8},
    }
    runs = {(arm, seed): run(arm, seed, **how) for arm, how in as_paper.items() for seed in (1, 2)}
    assert [finding.verdict for finding in findings(Results(runs))[6:]] == ["agrees"] * 4
    otherwise = {**as_paper, "bioatt": {"ssim": falling, "saturated": 0.9, "spread": 0.05}, "spatial": {"ssim": rising}}
    runs = {(arm, seed): run(arm, seed, **how) for arm, how in otherwise.items() for seed in (1, 2)}
    assert [finding.verdict for finding in findings(Results(runs))[6:]] == ["does not agree"] * 4


def test_courses_and_attention_need_seeds_that_agree_and_models_that_learned():
    how = {
        "bioatt": {"ssim": (0.5, 0.6, 0.7), "saturated": 0.1, "spread": 0.2},
        "spatial": {"ssim": (0.5, 0.7, 0.6)},
        "uniform": {"saturated": 0.9},
        "random": {"saturated": 0.8},
    }
    one = {(arm, 1): run(arm, 1, **said) for arm, said in how.items()}
    assert {finding.verdict for finding in findings(Results(one))[6:]} == {"open"}
    short = {(arm, seed): run(arm, seed, low_rmse=0.01, **said) for arm, said in how.items() for seed in (1, 2)}
    assert {finding.verdict for finding in findings(Results(short))[6:]} == {"open"}
    how["spatial"]["ssim"] = (0.5, 0.6, 0.7)
    how["uniform"]["saturated"], how["bioatt"]["spread"] = 0.2, 0.05
    other = {(arm, 2): run(arm, 2, **said) for arm, said in how.items()}
    other["bioatt", 2] = run("bioatt", 2, ssim=(0.5, 0.7, 0.6), spread=0.05)
    assert {finding.verdict for finding in findings(Results(one | other))[6:]} == {"open"}


def test_maps_of_the_first_epoch_are_not_of_trained_models():
    how = {"bioatt": {"spread": 0.2}, "uniform": {"saturated": 0.9}, "random": {"saturated": 0.8}}
    runs = {(arm, seed): run(arm, seed, epoch=1, **said) for arm, said in how.items() for seed in (1, 2)}
    assert [finding.verdict for finding in findings(Results(runs))[8:]] == ["open"] * 2
    del runs["random", 1], runs["random", 2]
    assert [finding.verdict for finding in findings(Results(runs))[8:]] == ["not run"] * 2


def test_differences_are_paired_by_seed_and_patient():
    """Seeds that only one arm has are ignored; differences between patients cancel."""
    found = results(bioatt=0.002, uniform=0)
    runs = {key: one for key, one in found.runs.items() if key != ("uniform", 2)}
    test = Results(runs).difference("bioatt", "uniform", "protocol/ssim")
    assert (test["seeds"], test["pairs"]) == (2, 12)
    assert len(test["by_seed"]) == 2
    assert test["difference"][0] == pytest.approx(0.002, abs=1e-4)
    assert test["difference"][2] - test["difference"][1] < 5e-4
    assert set(test) == {"difference", "by_seed", "seeds", "pairs"}  # no p-value: patients share the trainings


def test_values_that_some_patients_lack():
    """A patient without a value in one arm is excluded from the pairs, but not from the run."""
    found = results(2, bioatt=0.0, uniform=0.0)
    for seed in (1, 2):
        found.runs["bioatt", seed].evaluation["patients"][0]["values"]["full/rmse_hu"] = None
    assert found.difference("bioatt", "uniform", "full/rmse_hu")["pairs"] == 11
    assert np.isnan(found.table("bioatt", "full/rmse_hu")[:, 0]).all()
    assert json.dumps(found.plain())
