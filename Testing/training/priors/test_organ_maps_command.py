"""`bioatt-train organ-maps`: from a collection to weights that the engine loads, and a card with the test patients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.core.canonical import canonical
from bioatt.io.images import read_volume
from bioatt.priors.organ_maps import FILE, CellMaps, OrganMapPrior, OrganMaps, Patch
from bioatt_training.cli import main
from bioatt_training.priors.organ_maps.calibrate import presence_line
from bioatt_training.priors.organ_maps.judge import judge, scans_of

PAPER = load_descriptor_set("paper17")


class Oracle:
    """Maps that are the outlines, moved by some pixels."""

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
    wrong = judge(Oracle(folder, moved=8), scans_of(folder, patients, PAPER), PAPER)
    assert 0.5 < wrong.dice[0, liver] < 0.95
    assert right.count(("P0",))[liver] == 1


def test_presence_is_calibrated_to_the_share_of_slices() -> None:
    rng = np.random.default_rng(0)
    score = rng.normal(0, 3, (2000, 3))
    truth = rng.random(score.shape) < 1 / (1 + np.exp(-(0.5 * score - 1)))
    slope, offsets = presence_line(score, truth, np.ones_like(truth))
    assert slope == pytest.approx(0.5, abs=0.1)
    assert offsets == pytest.approx([-1, -1, -1], abs=0.2)


@pytest.mark.slow
def test_command_trains_calibrates_judges_and_writes_the_card(
    made_up_collection: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = made_up_collection(), tmp_path / "out"
    arguments = ["organ-maps", str(folder), str(out), "--split", str(folder / "split.json"), "--phantoms", "1"]
    assert main([*arguments, "--steps", "2", "--apart", "P5"]) == 0
    card = (out / FILE).with_suffix(".md").read_text()
    assert "| liver | 0 |" in card  # P5 is shown apart
    assert "## P5" in card
    assert "2 steps of 10 slices" in card
    prior = OrganMapPrior(PAPER, path=out / FILE)
    scan = canonical(read_volume(folder / "slices" / "P5_belly.nrrd")).volume
    np.testing.assert_allclose(prior.probabilities(scan).p.sum(axis=1), 1, atol=1e-4)
    capsys.readouterr()
    assert main(["organ-maps", str(folder), str(out), "--split", str(tmp_path / "no.json"), "--phantoms", "1"]) == 2
    assert "cannot be opened" in capsys.readouterr().err
