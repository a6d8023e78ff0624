"""Batches from a pack have the specified noise, neighbours, pairs and priors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bioatt.core.hu import SCALE_HU
from bioatt.network.slab_unet import NEIGHBOURS
from bioatt_training.slabs.batches import Batch, Batches, Drawing
from bioatt_training.slabs.pack import Pack
from bioatt_training.slabs.priors import CHANCES, KINDS, draw_priors

PLAIN = Drawing(
    patch=64, batch=32, phantoms=8, opposite=True, inserts=0.0, kernels=0.0, alone=0.0, one_sided=0.0, seed=3
)
CPU = torch.device("cpu")


def drawn(pack: Pack, drawing: Drawing, number: int = 0) -> Batch:
    batches = Batches(pack, drawing, CPU)
    batches.seed(number)
    return batches.draw()


def test_a_batch_depends_on_its_number_alone(pack: Pack) -> None:
    one, again, other = drawn(pack, PLAIN, 1), drawn(pack, PLAIN, 1), drawn(pack, PLAIN, 2)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one.x, other.x)


def test_pairs_of_torsos_differ_by_the_sign_of_their_noise(pack: Pack) -> None:
    batch = drawn(pack, PLAIN)
    low, target = batch.x[:8, :1], batch.target[:8]
    assert torch.equal(target[0::2], target[1::2])
    mean = (low[0::2] + low[1::2]) / 2
    torch.testing.assert_close(mean, target[0::2], atol=1e-4, rtol=0)
    assert (low - target).std() * SCALE_HU > 10


def test_torsos_come_one_by_one_unless_pairs_are_asked_for(pack: Pack) -> None:
    batch = drawn(pack, replace(PLAIN, opposite=False))
    assert not any(torch.equal(a, b) for a, b in zip(batch.target[0:8:2], batch.target[1:8:2], strict=True))


def test_the_packs_own_noise_comes_at_its_level_correlated_from_slice_to_slice(pack: Pack) -> None:
    """A checkerboard serves as the pack's noise, since generated noise cannot look like one."""
    checks = (16 * (2 * (np.indices(pack.hu.shape).sum(axis=0) % 2) - 1)).astype(np.int8)
    known = replace(pack, noise=checks)
    batch = drawn(known, replace(PLAIN, inserted=1.0, phantoms=0, doses=(0.25, 0.25)))
    added = 0.75 * SCALE_HU * (batch.x[:, :1] - batch.target)
    torch.testing.assert_close(added.abs(), torch.full_like(added, 20.0), atol=1.0, rtol=0)
    assert len({float(sign) for sign in added[:, 0, 0, 0].sign()}) == 2
    none = drawn(known, replace(PLAIN, inserted=0.0, phantoms=0, doses=(0.25, 0.25)))
    assert (SCALE_HU * (none.x[:, :1] - none.target)).std(dim=(1, 2, 3)).min() > 5
    assert (SCALE_HU * (none.x[:, :1] - none.target)).abs().std(dim=(1, 2, 3)).min() > 5


def test_the_noise_of_adjacent_slices_has_the_scans_correlation(pack: Pack) -> None:
    flat = replace(pack, hu=np.full_like(pack.hu, 40), correlation=np.full(4, 0.8, np.float32))
    x = drawn(flat, replace(PLAIN, phantoms=0, slabs=1.0, doses=(0.25, 0.25))).x
    both = (x[:, 2 + NEIGHBOURS :, 0, 0] > 0).all(dim=1)
    assert both.any()
    slice_, below, above = (x[both, k].flatten(1) - x[both, k].mean() for k in range(3))
    assert float(torch.corrcoef(torch.stack([slice_.flatten(), below.flatten()]))[0, 1]) == pytest.approx(0.8, abs=0.05)
    assert float(torch.corrcoef(torch.stack([below.flatten(), above.flatten()]))[0, 1]) == pytest.approx(0.64, abs=0.08)


def test_what_a_scan_is_asked_for_lies_on_the_other_side_of_its_noise(pack: Pack) -> None:
    """Noisier2Noise: scan = a · low dose + (1 − a) · target for dose fraction a, which needs no ground truth."""
    dose = 0.25
    batch = drawn(pack, replace(PLAIN, doses=(dose, dose), phantoms=0))
    scan = (1 - dose) * batch.target + dose * batch.x[:, :1]
    noise = SCALE_HU * (scan[..., :28] - scan[..., :28].mean(dim=(2, 3), keepdim=True))
    assert (SCALE_HU * (batch.x[:, :1] - batch.target)).std() > 20
    assert float(noise.abs().median()) < 80
    inserted = (1 - dose) * (batch.x[:, :1] - batch.target)
    assert float(SCALE_HU * inserted.std()) == pytest.approx(20, rel=0.1)  # the level of a quarter dose


def test_neighbours_are_near_and_hidden_ones_have_no_nearness(pack: Pack) -> None:
    batch = drawn(pack, PLAIN)
    near = batch.x[:, 2 + NEIGHBOURS :, 0, 0]
    steps = {1.25, 2.0}
    known = {round(2 ** (-step / 2), 4) for step in steps} | {0.0}
    assert {round(float(one), 4) for one in near.flatten()} <= known
    assert (near > 0).any()
    alone = drawn(pack, replace(PLAIN, alone=1.0))
    assert not alone.x[:, 2 + NEIGHBOURS :].any()


def test_inserts_and_kernels_change_low_dose_and_target_alike(pack: Pack) -> None:
    plain, changed = drawn(pack, PLAIN), drawn(pack, replace(PLAIN, inserts=1.0))
    added = [one.x[:, :1] - one.target for one in (plain, changed)]
    torch.testing.assert_close(added[0], added[1], atol=2e-3, rtol=0)
    assert (changed.target - plain.target).abs().amax(dim=(1, 2, 3)).gt(5 / SCALE_HU).float().mean() > 0.9


def test_organ_maps_turn_with_their_patch(pack: Pack) -> None:
    """The fixture's organ is the darker half of every slice."""
    batch = drawn(pack, replace(PLAIN, phantoms=32, batch=32))
    organ = torch.nn.functional.interpolate(batch.maps[:, 8:9], scale_factor=8.0, mode="nearest")
    hu = batch.target * SCALE_HU
    both = (organ.mean(dim=(1, 2, 3)) - 0.5).abs() < 0.3
    assert both.any()
    dark = (hu * organ).sum(dim=(1, 2, 3)) / organ.sum(dim=(1, 2, 3)).clamp_min(1)
    bright = (hu * (1 - organ)).sum(dim=(1, 2, 3)) / (1 - organ).sum(dim=(1, 2, 3)).clamp_min(1)
    assert (dark < bright)[both].all()


def test_the_noise_level_is_told_but_for_a_few(pack: Pack) -> None:
    level = 50 * drawn(pack, replace(PLAIN, batch=256, phantoms=0, doses=(0.25, 0.25))).x[:, 1 + NEIGHBOURS, 0, 0]
    assert 0 < float((level == 0).float().mean()) < 0.15
    assert float(level[level > 0].median()) == pytest.approx(18, rel=0.1)


def test_priors_of_every_kind_are_at_most_one_in_all() -> None:
    random = torch.Generator().manual_seed(1)
    maps = torch.zeros(3000, 17, 2, 2)
    maps[:, 3] = 0.8
    pooled = torch.full((3000, 17), 1 / 17)
    p = draw_priors(maps, pooled, maps.roll(1, dims=1), torch.from_numpy(np.cumsum(CHANCES)[:-1]), random)
    total = p.sum(dim=1)
    assert total.max() <= 1 + 1e-5
    assert p.min() >= 0
    none = (total.amax(dim=(1, 2)) == 0).float().mean()
    assert abs(float(none) - CHANCES[KINDS.index("none")] - 0.4 * CHANCES[KINDS.index("missing")]) < 0.02
    peaked = (p.amax(dim=1) > 0.9).float().mean()
    assert float(peaked) > 0.05
