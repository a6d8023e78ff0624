"""How the loss terms are computed, which are left out, and what ends a run."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from bioatt.core.errors import InputError
from bioatt.inference.models import read_model
from bioatt_training.adversarial.alden import AldenExperiment
from bioatt_training.adversarial.contrast import contrast
from bioatt_training.adversarial.guard import COLUMNS
from bioatt_training.adversarial.methods import Alden, LowDose, Unpaired
from bioatt_training.adversarial.perceptual import DISTANCES, pointwise
from bioatt_training.adversarial.unpaired import UnpairedExperiment
from bioatt_training.fit.arms import arm_network
from bioatt_training.fit.history import read_history
from bioatt_training.fit.objectives import interior
from bioatt_training.fit.run import fit

ALDEN = Alden(features="organ_maps", width=4, places=5)
UNPAIRED = Unpaired(features="organ_maps", width=4, replay=2)


@pytest.fixture
def images():
    """Output, target and low dose of two patches."""
    generator = torch.Generator().manual_seed(0)
    target = 1 + 0.2 * torch.randn(2, 1, 32, 32, generator=generator)
    return target + 0.05, target, target + 0.1 * torch.randn(target.shape, generator=generator)


def alden(tiny, **weights):
    return AldenExperiment(tiny(method=replace(ALDEN, **weights)), 17, 18, 6)


def test_alden_s_terms(tiny, images):
    experiment = alden(tiny, pixel=2.0, perceptual=3.0, contrast=5.0)
    found = experiment.terms(*images)
    output, target, low = map(experiment.features, images)
    given = {"places": 5, "temperature": 0.1}
    torch.testing.assert_close(found["pixel"], 2 * ((images[0] - images[1]) ** 2).mean())
    torch.testing.assert_close(found["perceptual"], 3 * DISTANCES["statistics"](output, target))
    torch.testing.assert_close(found["contrast"], 5 * contrast(output, target, low, experiment._generator(), **given))
    assert set(found) == {"pixel", "perceptual", "contrast", "adversarial", "discriminator"}


def test_real_and_fake_are_judged_with_the_reference_s_semantics(tiny, images):
    experiment = alden(tiny)
    asked = []
    experiment.discriminator.register_forward_pre_hook(lambda _, given: asked.append(given))
    experiment.terms(*images)
    reference = experiment.features(images[1])
    assert len(asked) == 3
    for x, semantics in asked:
        assert any(torch.equal(x, one) for one in images[:2])
        assert all(torch.equal(a, b) for a, b in zip(semantics, reference, strict=True))


def test_a_weight_of_0_leaves_a_term_out(tiny, images):
    assert set(alden(tiny, contrast=0.0, perceptual=0.0).terms(*images)) == {"pixel", "adversarial", "discriminator"}
    without = alden(tiny, adversarial=0.0)
    assert set(without.terms(*images)) == {"pixel", "perceptual", "contrast"}
    assert not any(name.startswith("discriminator") for name, _ in without.named_parameters())
    assert not alden(tiny, semantics=False).discriminator.attention


def test_the_terms_without_pairs(tiny):
    experiment = UnpairedExperiment(tiny(method=UNPAIRED, arm="base", layout="gated_unet"), 17, 18, 6)
    generator = torch.Generator().manual_seed(0)
    low, full = (1 + 0.2 * torch.randn(2, 1, 40, 40, generator=generator) for _ in range(2))
    p = torch.full((2, 17), 1 / 17)
    with torch.no_grad():
        experiment.network.tail.bias.fill_(0.1)
        experiment.back.tail.bias.fill_(0.3)
        found = experiment.terms(low, full, p, p)
        level = experiment.features(interior(low, 4)), experiment.features(interior(low, 4) + 0.1)
    assert float(found["cycle"]) == pytest.approx(2 * 0.4, rel=1e-4)  # both generators shift, in sequence
    assert float(found["identity"]) == pytest.approx(0.5 * (0.1 + 0.3), rel=1e-4)
    assert float(found["means"]) == pytest.approx(10 * (0.1 + 0.3), rel=1e-4)
    torch.testing.assert_close(found["perceptual"], 0.1 * pointwise(level[1][1:], level[0][1:]), rtol=1e-3, atol=1e-6)
    sides = {f"{kind}_{side}" for kind in ("adversarial", "discriminator") for side in ("full", "low")}
    assert set(found) == {"cycle", "identity", "means", "perceptual", *sides}


def test_the_means_of_a_cycle_ignore_noise_but_not_a_shift(tiny):
    experiment = UnpairedExperiment(tiny(method=UNPAIRED, arm="base", layout="gated_unet"), 17, 18, 6)
    given = torch.zeros(1, 1, 40, 40)
    checkerboard = 0.1 * (-1.0) ** torch.arange(40).add(torch.arange(40)[:, None])[None, None]
    assert experiment._means(given + checkerboard, given) < 0.002
    assert float(experiment._means(given + checkerboard + 0.02, given)) == pytest.approx(0.02, abs=0.002)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "steps"), [(ALDEN, 40), (UNPAIRED, 6), (LowDose(), 60)], ids=["alden", "unpaired", "low dose"]
)
def test_a_run_with_pairs_denoises_and_every_run_tells_its_drift(tiny, tmp_path, method, steps):
    config = tiny(method=method, steps=steps, validate_every=steps, layout="unet", loss="relative_mse")
    model = read_model(fit(config, tmp_path))
    lines = read_history(tmp_path)
    assert set(COLUMNS) <= set(lines[-1])
    if method is not UNPAIRED:  # needs more steps to denoise
        assert lines[-1]["val_rmse_hu"] < lines[-1]["val_input_rmse_hu"]
    assert abs(lines[-1]["val_bias_soft_tissue_hu"]) == pytest.approx(lines[-1]["val_drift_hu"], rel=1e-5)
    assert lines[-1]["val_structure"] > 0
    assert model.network.layout == "unet"


@pytest.mark.slow
@pytest.mark.parametrize("method", [None, ALDEN, UNPAIRED, LowDose()], ids=["pairs", "alden", "unpaired", "low dose"])
def test_the_shipped_kind_of_network_learns_in_every_way(tiny, tmp_path, method):
    config = tiny(method=method, steps=6, layout="slab_unet", loss="relative_mse")
    before, after = (arm_network(config.network, 17), read_model(fit(config, tmp_path)).network)
    assert after.kind == before.kind
    assert after.tail.weight.abs().max() > 0, "0 in a fresh network"
    assert math.isfinite(read_history(tmp_path)[-1]["val_relative"])


@pytest.mark.slow
def test_drift_ends_the_run_and_is_not_exported(tiny, tmp_path):
    method = replace(LowDose(), most_drift_hu=0.0)
    config = tiny(method=method, monitor="val_guarded", early_stop=5, export="last", layout="unet")
    with pytest.raises(InputError, match="finite value"):
        fit(config, tmp_path)
    lines = read_history(tmp_path)
    assert [line["val_guarded"] for line in lines] == [math.inf]
