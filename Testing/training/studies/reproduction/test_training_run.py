"""The attention maps that a run keeps, however early it stops."""

from __future__ import annotations

import json
import shutil

import pytest

from bioatt_training.data.bank import Bank
from bioatt_training.evaluation.judge import Judgement
from bioatt_training.fit.history import COLUMNS
from bioatt_training.fit.run import epoch_model
from bioatt_training.studies.reproduction import training_run
from bioatt_training.studies.reproduction.attention_maps import kept_maps
from bioatt_training.studies.reproduction.figures import draw_attention
from bioatt_training.studies.reproduction.plan import paper_size


@pytest.mark.parametrize(
    ("exported", "shown"), [((1, 5, 10), [1, 10]), ((1, 5, 10, 20), [1, 20]), ((1, 5, 10, 20, 30), [1, 20, 30])]
)
def test_maps_of_the_last_epoch_that_was_kept(made_up_bank, shifting_model, tmp_path, monkeypatch, exported, shown):
    bank, folder = made_up_bank(test=1, slices=1), tmp_path / "run"
    folder.mkdir()

    def fit(config, folder):
        model = shifting_model(arm="bioatt")
        for epoch in exported:
            shutil.copy(model, epoch_model(config, folder, epoch))
        (folder / "metrics.csv").write_text("\n".join([",".join(COLUMNS), ",".join("1" * len(COLUMNS))]))
        return model

    monkeypatch.setattr(training_run, "fit", fit)
    config = paper_size(4).config(bank, "bioatt", 1)
    record = training_run.execute(config, folder, Judgement(prior="bank", whole=False))
    assert sorted({one["epoch"] for one in record["attention"]}) == shown
    assert json.loads((folder / "run.json").read_text())["attention"] == record["attention"]
    assert list(kept_maps(folder)) == shown
    organs = Bank(bank).header["descriptors"][:4]
    pictures = draw_attention(dict.fromkeys(("random", "uniform", "bioatt"), folder), organs, tmp_path)
    assert pictures == ["attention-middle", "attention-last"]
