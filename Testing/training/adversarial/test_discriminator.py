"""Cross-attention against NumPy, the discriminator's losses, and which network each loss trains."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bioatt_training.adversarial.discriminator import (
    Discriminator,
    SemanticAttention,
    discriminator_loss,
    frozen,
    generator_loss,
)


@pytest.fixture
def images():
    """Two patches, and semantic features at three depths."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 1, 32, 32, generator=generator)
    return x, [torch.randn(2, c, side, side, generator=generator) for c, side in ((3, 8), (4, 4), (5, 2))]


def test_attention_asks_with_semantics_and_answers_with_features():
    torch.manual_seed(0)
    attention = SemanticAttention(3, 6).double()
    torch.nn.init.normal_(attention.output.weight)
    semantics, features = torch.randn(1, 3, 4, 4).double(), torch.randn(1, 6, 4, 4).double()
    asked = (semantics - semantics.mean((2, 3), keepdim=True)) / (
        semantics.var((2, 3), correction=0, keepdim=True) + 1e-5
    ).sqrt()

    def projected(layer, x):
        return layer.weight.detach().numpy()[:, :, 0, 0] @ x + layer.bias.detach().numpy()[:, None]

    asked, held = asked[0].flatten(1).numpy(), features[0].flatten(1).numpy()
    query, key, value = (
        projected(layer, x) for layer, x in ((attention.query, asked), (attention.key, held), (attention.value, held))
    )
    scores = np.exp(query.T @ key / np.sqrt(len(query)))
    expected = projected(attention.output, value @ (scores / scores.sum(axis=1, keepdims=True)).T)
    found = attention(semantics, features)[0].flatten(1).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_it_begins_without_semantics_and_learns_to_use_them(images):
    x, semantics = images
    torch.manual_seed(0)
    judge = Discriminator(4, (3, 4, 5))
    others = [level.flip(0) for level in semantics]
    judge(x, semantics)  # one power iteration of the spectral norms
    judge.eval()
    torch.testing.assert_close(judge(x, semantics), judge(x, others), rtol=0, atol=0)
    judge(x, semantics).square().mean().backward()
    with torch.no_grad():
        for attention in judge.attention:
            assert attention.output.weight.grad.abs().max() > 0
            attention.output.weight -= 100 * attention.output.weight.grad
    assert (judge(x, semantics) - judge(x, others)).abs().max() > 1e-5


def test_convolutions_are_spectrally_normalised(images):
    torch.manual_seed(0)
    judge = Discriminator(4)
    for _ in range(50):
        judge(images[0])
    judge.eval()
    for layer in (*judge.down, judge.last, judge.logits):
        assert np.linalg.norm(layer.weight.detach().flatten(1).numpy(), 2) == pytest.approx(1, abs=0.05)


def test_faint_texture_is_seen(images):
    """Noise of 5 HU on flat tissue moves the logits more than a 20 HU change of the tissue does."""
    torch.manual_seed(0)
    judge = Discriminator(8)
    flat = torch.full_like(images[0], 1.08)
    judge(flat)
    judge.eval()
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    moved = [(judge(other) - judge(flat))[inner].std() for other in (flat + 0.01 * images[0], flat + 0.04)]
    assert moved[0] > moved[1]


def test_autocast_changes_nothing(images):
    torch.manual_seed(0)
    judge = Discriminator(4, (3, 4, 5)).eval()
    expected = judge(*images)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(judge(*images), expected, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["hinge", "least_squares"])
def test_losses(kind):
    real, fake = torch.tensor([0.3, 1.4]), torch.tensor([-1.5, 0.2])
    if kind == "hinge":
        expected = np.mean([0.7, 0]) + np.mean([0, 1.2]), -np.mean([-1.5, 0.2])
    else:
        expected = (np.mean([0.49, 0.16]) + np.mean([2.25, 0.04])) / 2, np.mean([6.25, 0.64]) / 2
    found = discriminator_loss(kind, real, fake), generator_loss(kind, fake)
    assert [float(one) for one in found] == pytest.approx(expected, rel=1e-6)


def test_one_backward_pass_trains_either_side_by_its_own_loss(images):
    """The gradients equal those of two passes that each leave the other network unchanged."""
    torch.manual_seed(0)
    generator, judge = torch.nn.Conv2d(1, 1, 3, padding=1), Discriminator(4).eval()
    x, real = images[0], images[0].flip(0)
    with frozen(judge):
        ours = generator_loss("hinge", judge(generator(x)))
    theirs = discriminator_loss("hinge", judge(real), judge(generator(x).detach()))
    (ours + theirs).backward()
    together = [one.grad for one in (*generator.parameters(), *judge.parameters())]
    alone = torch.autograd.grad(generator_loss("hinge", judge(generator(x))), list(generator.parameters()))
    fakes = judge(generator(x).detach())
    alone += torch.autograd.grad(discriminator_loss("hinge", judge(real), fakes), list(judge.parameters()))
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other)
