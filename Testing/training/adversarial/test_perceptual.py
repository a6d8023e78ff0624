"""Feature distances against NumPy, and what each is sensitive to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bioatt_training.adversarial.perceptual import STATISTICS_PX, gram, pointwise, statistics


@pytest.fixture
def levels():
    """Two feature hierarchies of 2 images: 3 channels of 8×8, and 5 channels of 3×3."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 3, 8, 8), (2, 5, 3, 3)]
    return tuple([torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes] for _ in range(2))


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_pointwise(levels):
    expected = [((unit(a.numpy()) - unit(b.numpy())) ** 2).sum(axis=1).mean() for a, b in zip(*levels, strict=True)]
    assert float(pointwise(*levels)) == pytest.approx(np.mean(expected), rel=1e-9)


def test_statistics(levels):
    expected = []
    for a, b in zip(*(map(np.asarray, one) for one in levels), strict=True):
        side = min(STATISTICS_PX, a.shape[2])
        scale = np.abs(b).mean(axis=(1, 2, 3), keepdims=True)
        moments = []
        for x in (a / scale, b / scale):
            squares = [
                x[:, :, i : i + side, j : j + side]
                for i in range(0, x.shape[2] - side + 1, side)
                for j in range(0, x.shape[3] - side + 1, side)
            ]
            moments.append([(s.mean(axis=(2, 3)), np.sqrt(s.var(axis=(2, 3)) + 1e-6)) for s in squares])
        pairs = list(zip(*moments, strict=True))
        expected.append(sum(np.mean([np.abs(one[k] - other[k]) for one, other in pairs]) for k in (0, 1)))
    assert float(statistics(*levels)) == pytest.approx(np.mean(expected), rel=1e-6)


def test_gram(levels):
    expected = []
    for a, b in zip(*(map(np.asarray, one) for one in levels), strict=True):
        one, other = (np.einsum("bcij,bdij->bcd", unit(x), unit(x)) / x[0, 0].size for x in (a, b))
        expected.append(((one - other) ** 2).sum(axis=(1, 2)).mean())
    assert float(gram(*levels)) == pytest.approx(np.mean(expected), rel=1e-9)


def test_statistics_forgive_shuffled_texture_and_see_a_lost_one():
    texture = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    shuffled = texture.unflatten(2, (2, 4)).unflatten(4, (2, 4)).flip(3, 5).flatten(2, 3).flatten(3)
    assert float(statistics([shuffled], [texture])) == pytest.approx(0, abs=1e-6)
    assert float(statistics([torch.zeros_like(texture)], [texture])) > 1
    assert float(pointwise([shuffled], [texture])) > 0.5


@pytest.mark.parametrize("distance", [pointwise, statistics, gram])
def test_a_batch_is_the_mean_of_its_images(distance, levels):
    """Processes can therefore share a batch."""
    alone = [distance(*([level[k : k + 1] for level in one] for one in levels)) for k in range(2)]
    torch.testing.assert_close(distance(*levels), torch.stack(alone).mean())


@pytest.mark.parametrize("distance", [pointwise, statistics, gram])
def test_gradients(distance, levels):
    output, target = levels
    assert torch.autograd.gradcheck(lambda *given: distance(list(given), target), [x.requires_grad_() for x in output])
