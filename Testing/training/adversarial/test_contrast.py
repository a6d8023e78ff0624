"""The contrastive loss against NumPy: which vectors it pulls together, and both kinds of negatives it pushes away."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bioatt_training.adversarial.contrast import contrast, info_nce


def vectors(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_info_nce():
    a, b, c = (unit(vectors(seed, 2, 5, 7).numpy()) for seed in range(3))
    losses = []
    for image in range(2):
        for place in range(5):
            similar = np.exp([a[image, place] @ b[image, other] / 0.2 for other in range(5)])
            beside = np.exp(a[image, place] @ c[image, place] / 0.2)
            losses.append(-np.log(similar[place] / (similar.sum() + beside)))
    found = info_nce(*(torch.from_numpy(x) for x in (a, b, c)), temperature=0.2)
    assert float(found) == pytest.approx(np.mean(losses), rel=1e-9)


def drawn(output, full, low, places=100):
    return contrast([output], [full], [low], torch.Generator().manual_seed(0), places=places, temperature=0.1)


def test_each_kind_of_negative_is_pushed_away():
    full, low = vectors(0, 1, 6, 4, 4), vectors(1, 1, 6, 4, 4)
    moved = full.roll(1, dims=3)
    right, noisy, elsewhere = (float(drawn(output, full, low)) for output in (full, low, moved))
    assert right < 0.1 < min(noisy, elsewhere)
    assert float(drawn(full, full, full)) == pytest.approx(np.log(2), abs=0.1)  # the low dose equals the full dose


def test_the_step_draws_the_places_for_all_images_alike():
    """Otherwise two processes with half a batch each would not get the loss of the whole batch."""
    output, full, low = (vectors(seed, 4, 6, 8, 8) for seed in range(3))
    whole = drawn(output, full, low, places=9)
    halves = [drawn(output[part], full[part], low[part], places=9) for part in (slice(0, 2), slice(2, 4))]
    torch.testing.assert_close(torch.stack(halves).mean(), whole)


def test_gradient():
    output, full, low = (vectors(seed, 2, 3, 2, 2) for seed in range(3))
    assert torch.autograd.gradcheck(lambda x: drawn(x, full, low), [output.requires_grad_()])
