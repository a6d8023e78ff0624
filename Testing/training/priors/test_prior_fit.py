"""Augmentation, drawn heads, folds, calibration, and a fit that learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.core.volume import Volume
from bioatt.priors.embedded import EmbeddedPrior
from bioatt.priors.slice_image import slice_image
from bioatt_training.priors.augment import augment
from bioatt_training.priors.card import model_card
from bioatt_training.priors.fit import FitConfig, folds_of, objective, sampling_weights, temperature
from bioatt_training.priors.heads import drawn_heads
from bioatt_training.priors.judge import area_under_roc
from bioatt_training.priors.labelled import FINE_CELL_MM, FINE_GRID, LabelledSlices
from bioatt_training.priors.train import TrainingData, cross_validate, train

PAPER = load_descriptor_set("paper17")
LUNGS, LIVER = PAPER.descriptors.index("lungs"), PAPER.descriptors.index("liver")


def _slices(count: int, patients: int = 4, seed: int = 0) -> LabelledSlices:
    """Bodies with lungs or a liver, told apart by their holes."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:FINE_GRID, :FINE_GRID] - FINE_GRID / 2 + 0.5
    images = np.full((count, FINE_GRID, FINE_GRID), -1000.0)
    presence = np.zeros((count, 17), bool)
    for n in range(count):
        wide, high = generator.uniform((70, 50), (100, 70))
        images[n][(x / wide) ** 2 + (y / high) ** 2 < 1] = generator.normal(40, 10)
        presence[n, LUNGS if n % 2 else LIVER] = True
        if n % 2:
            images[n][(np.abs(x) - wide / 2) ** 2 + y**2 < (high / 2) ** 2] = -850
    who = np.array([f"p{n % patients}" for n in range(count)])
    return LabelledSlices(
        images.astype(np.float16), presence, np.ones_like(presence), who, who, np.full(count, "chest"), np.arange(count)
    )


def test_augmentation_keeps_the_body_in_the_middle_and_the_amount_of_tissue() -> None:
    torch.manual_seed(0)
    data = _slices(16)
    images = augment(torch.from_numpy(data.images.astype(np.float32))[:, None])
    assert images.shape == (16, 1, 128, 128)
    assert torch.isfinite(images).all()
    before = (data.images > -300).sum(axis=(1, 2)) * FINE_CELL_MM**2
    after = (images > -300).sum(dim=(1, 2, 3)).numpy() * (2 * FINE_CELL_MM) ** 2
    assert (after / before).mean() == pytest.approx(1, abs=0.25)
    assert (after / before).std() > 0.02, "sizes vary"


def test_fine_and_coarse_images_are_the_same_image() -> None:
    hu = np.random.default_rng(0).normal(0, 300, (150, 180)).astype(np.float32)
    fine = torch.from_numpy(slice_image(hu, (2.0, 2.0), FINE_GRID, FINE_CELL_MM))[None]
    coarse = torch.nn.functional.avg_pool2d(fine, 2)[0].numpy()
    np.testing.assert_allclose(coarse, slice_image(hu, (2.0, 2.0)), atol=0.05)


def test_drawn_heads_have_a_skull_around_a_brain() -> None:
    heads = drawn_heads(4, PAPER, seed=1)
    assert heads.presence.sum(axis=0)[:2].tolist() == [4, 4]
    assert heads.presence.sum() == 8
    for image in heads.images.astype(np.float32):
        assert 0.05 < (image > 200).sum() / (image > -200).sum() < 0.7
        assert image.min() == -1000
    assert not np.array_equal(heads.images[0], heads.images[1])
    np.testing.assert_array_equal(drawn_heads(4, PAPER, seed=1).images, heads.images)


def test_folds_split_patients_never_slices() -> None:
    data = _slices(40, patients=10)
    folds = folds_of(data, 3)
    assert {len(set(folds[data.patients == who])) for who in np.unique(data.patients)} == {1}
    assert np.bincount(folds).max() - np.bincount(folds).min() <= 4


def test_patients_with_many_slices_are_drawn_less_than_their_slices() -> None:
    data = _slices(10, patients=1)
    data.patients[:1] = "single"
    weights = sampling_weights(data)
    assert weights.sum() == pytest.approx(1)
    assert weights[1:].sum() / weights[0] == pytest.approx(3)


def test_unsure_labels_do_not_teach() -> None:
    logits = torch.randn(5, 3, requires_grad=True)
    sure = torch.ones(5, 3)
    sure[2] = 0
    presence = (torch.rand(5, 3) < 0.5).float()
    objective(logits, presence, sure, torch.full((5, 3), 1 / 3)).backward()
    assert not logits.grad[2].any()
    assert logits.grad[0].any()


def test_temperature_undoes_boasting() -> None:
    data = _slices(4000 // 20, patients=8)
    generator = np.random.default_rng(0)
    honest = generator.normal(0, 2, data.presence.shape).astype(np.float32)
    data.presence[:] = generator.random(honest.shape) < 1 / (1 + np.exp(-honest))
    assert temperature(honest * 2, data) == pytest.approx(0.5, abs=0.12)


@pytest.mark.slow
def test_learns_on_left_out_patients_and_writes_what_the_engine_reads(tmp_path: Path) -> None:
    training = TrainingData(_slices(25, patients=5), drawn_heads(2, PAPER), PAPER.descriptors)
    config = FitConfig(epochs=15, draws=32, batch=8, width=6, learning_rate=5e-3)
    crossed = cross_validate(training, 2, config, tmp_path)
    again = cross_validate(training, 2, config, tmp_path)
    np.testing.assert_array_equal(crossed.logits, again.logits)
    judgement = crossed.judgement(training.data, PAPER.descriptors)
    assert judgement.auc[LUNGS] > 0.9
    assert judgement.log_loss < judgement.constant
    factor = train(training, crossed, config, tmp_path)
    path = tmp_path / "embedded_prior.safetensors"
    volume = Volume(training.data.images.astype(np.float32), (FINE_CELL_MM, FINE_CELL_MM, 5.0))
    lungs = EmbeddedPrior(PAPER, path=path).probabilities(volume).p[:, LUNGS]
    assert area_under_roc(lungs, training.data.presence[:, LUNGS]) > 0.9
    card = model_card(judgement, {"unchanged": judgement}, factor, config, path, folds=2, parameters=1, heads=2)
    assert f"| lungs | 5 | 12 | {judgement.auc[LUNGS]:.3f}" in card
