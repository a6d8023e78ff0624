"""`bioatt-train organ-maps`: from a collection to weights that the engine loads and a card on the test patients."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.core.canonical import canonical
from bioatt.core.errors import InputError
from bioatt.io.images import read_volume
from bioatt.network.organ_maps import OrganMapNetwork
from bioatt.priors.organ_maps import FILE, CellMaps, OrganMapPrior, OrganMaps, Patch, load_organ_maps
from bioatt_training.cli import main
from bioatt_training.priors.organ_maps.calibrate import presence_line
from bioatt_training.priors.organ_maps.judge import judge, scans_of
from bioatt_training.priors.organ_maps.train import adopt

PAPER = load_descriptor_set("paper17")


class Oracle:
    """Organ maps equal to the outlines, shifted by `moved` pixels."""

    def __init__(self, folder: Path, moved: int = 0) -> None:
        self.by_shape = {}
        for path in sorted((folder / "masks").glob("*.nrrd")):
            volume = canonical(read_volume(folder / "slices" / path.name)).volume
            labels = np.roll(read_volume(path, hu=False).hu[0], moved, axis=1)
            self.by_shape[volume.hu.tobytes()] = labels

    def maps(self, volume) -> OrganMaps:
        labels = self.by_shape[volume.hu.tobytes()]
        everywhere = (slice(0, labels.shape[0]), slice(0, labels.shape[1]))
        patches = tuple(
            Patch(int(value) - 1, everywhere, (labels == value).astype(np.float16))
            for value in np.unique(labels[labels > 0])
        )
        presence = np.isin(np.arange(17), [patch.column for patch in patches]).astype(np.float32)
        maps = CellMaps(patches, presence)
        return OrganMaps((maps,), PAPER.descriptors, labels.shape, labels.shape, volume.slice_ids)


def test_judging_knows_right_from_wrong(made_up_collection: Callable[..., Path]) -> None:
    folder = made_up_collection()
    patients = ["P0", "P1"]
    right = judge(Oracle(folder), scans_of(folder, patients, PAPER), PAPER)
    lungs, liver = PAPER.descriptors.index("lungs"), PAPER.descriptors.index("liver")
    assert right.patients == ("P0", "P1")
    assert right.slices == 4
    assert right.dice[:, [lungs, liver]].min() == right.recall[0, liver] == right.auc[0, liver] == 1
    assert right.presence_auc[liver] == 1
    assert right.wrong_cm2[0, lungs] == 0
    assert right.noise_ratio[0, liver] == 1
    wrong = judge(Oracle(folder, moved=8), scans_of(folder, patients, PAPER), PAPER)
    assert 0.5 < wrong.dice[0, liver] < 0.95
    assert wrong.noise_ratio[0, liver] == pytest.approx(1, abs=0.15)
    assert right.count(("P0",))[liver] == 1


def test_presence_is_calibrated_to_the_share_of_slices() -> None:
    rng = np.random.default_rng(0)
    score = rng.normal(0, 3, (2000, 3))
    truth = rng.random(score.shape) < 1 / (1 + np.exp(-(0.5 * score - 1)))
    slope, offsets = presence_line(score, truth, np.ones_like(truth))
    assert slope == pytest.approx(0.5, abs=0.1)
    assert offsets == pytest.approx([-1, -1, -1], abs=0.2)


@pytest.fixture
def gpu_outputs(tmp_path: Path) -> Path:
    """organs.pt and organs.json of two small variants."""
    records, weights = {}, {}
    for seed, (name, mean) in enumerate((("a", 0.5), ("b", 0.6))):
        torch.manual_seed(seed)
        network = OrganMapNetwork(1 + len(PAPER.descriptors), (8, 8, 16, 16))
        weights[name] = {key: value.half() for key, value in network.state_dict().items()}
        config = {"widths": [8, 8, 16, 16], "outlined": 3, "weak": 1, "phantom": 1}
        records[name] = {"config": config, "history": [{"step": 7, "mean": mean}]}
    torch.save(weights, tmp_path / "organs.pt")
    (tmp_path / "organs.json").write_text(json.dumps(records))
    return tmp_path / "organs.pt"


def test_the_variant_that_is_best_or_named_is_adopted(gpu_outputs: Path) -> None:
    weights = torch.load(gpu_outputs, weights_only=True)
    for named, variant in ((str(gpu_outputs), "b"), (f"{gpu_outputs}:a", "a")):
        adopted = adopt(named, 1 + len(PAPER.descriptors))
        assert torch.equal(adopted.network.head.weight, weights[variant]["head.weight"].float())
        assert adopted.steps == 7
        assert adopted.config["outlined"] == 3


def test_what_cannot_be_adopted(gpu_outputs: Path) -> None:
    with pytest.raises(InputError, match="no variant c: choose from a, b"):
        adopt(f"{gpu_outputs}:c", 18)
    gpu_outputs.with_suffix(".json").write_text("{}")
    with pytest.raises(InputError, match=r"organs\.json beside it"):
        adopt(str(gpu_outputs), 18)


@pytest.mark.slow
def test_an_adopted_network_is_taken_further_calibrated_judged_and_described(
    made_up_collection: Callable[..., Path], gpu_outputs: Path, tmp_path: Path
) -> None:
    folder, out = made_up_collection(), tmp_path / "out"
    arguments = ["organ-maps", str(folder), str(out), "--split", str(folder / "split.json"), "--phantoms", "1"]
    assert main([*arguments, "--adopt", str(gpu_outputs), "--apart", "P5"]) == 0
    assert "7 steps of 5 slices" in (out / FILE).with_suffix(".md").read_text()
    adopted = OrganMapPrior(PAPER, path=out / FILE)
    assert adopted.taught == PAPER.descriptors
    further = tmp_path / "further"
    assert main([*arguments[:2], str(further), *arguments[3:], "--adopt", str(gpu_outputs), "--further", "1"]) == 0
    card = (further / FILE).with_suffix(".md").read_text()
    assert "7 steps of 5 slices, then 1 steps of 10 slices" in card
    assert re.search(r"Open, .*lungs \d\.\d+ \(dice, aim 0\.96\)", card)  # no interval from one patient
    moved = load_organ_maps(further / FILE)[0].head.weight - load_organ_maps(out / FILE)[0].head.weight
    assert 0 < moved.abs().max() < 0.01  # training continues from the adopted weights


@pytest.mark.slow
def test_command_trains_calibrates_judges_and_writes_the_card(
    made_up_collection: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = made_up_collection(), tmp_path / "out"
    arguments = ["organ-maps", str(folder), str(out), "--split", str(folder / "split.json"), "--phantoms", "1"]
    assert main([*arguments, "--steps", "2", "--apart", "P5"]) == 0
    card = (out / FILE).with_suffix(".md").read_text()
    assert "| liver | 0 |" in card  # P5 is reported separately
    assert "## P5" in card
    assert "2 steps of 10 slices" in card
    assert Image.open(out / "organ_maps.png").size[0] > 500
    prior = OrganMapPrior(PAPER, path=out / FILE)
    scan = canonical(read_volume(folder / "slices" / "P5_belly.nrrd")).volume
    np.testing.assert_allclose(prior.probabilities(scan).p.sum(axis=1), 1, atol=1e-4)
    capsys.readouterr()
    assert main(["organ-maps", str(folder), str(out), "--split", str(tmp_path / "no.json"), "--phantoms", "1"]) == 2
    assert "cannot be opened" in capsys.readouterr().err
