"""The organ-map network: it takes any whole number of blocks, and folding in its normalisations changes nothing."""

from __future__ import annotations

import copy

import pytest
import torch

from bioatt.network.organ_maps import BLOCK, OrganMapNetwork, fuse


@pytest.fixture
def network() -> OrganMapNetwork:
    """Return a small network whose normalisation statistics differ from the initial ones."""
    torch.manual_seed(0)
    made = OrganMapNetwork(5, widths=(8, 8, 16, 16)).train()
    for _ in range(3):
        made(torch.randn(4, 1, 32, 48) * 400, torch.randn(4, 2, 32, 48))
    return made.eval()


def test_a_logit_for_every_class_at_every_cell(network: OrganMapNetwork) -> None:
    shape = (3 * BLOCK, 2 * BLOCK)
    assert network(torch.zeros(2, 1, *shape), torch.zeros(2, 2, *shape)).shape == (2, 5, *shape)


def test_folding_the_normalisations_changes_nothing(network: OrganMapNetwork) -> None:
    hu, where = torch.randn(1, 1, 48, 64) * 400, torch.randn(1, 2, 48, 64)
    folded = fuse(copy.deepcopy(network))
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(folded(hu, where), network(hu, where), atol=1e-4, rtol=1e-4)


def test_where_in_the_body_matters(network: OrganMapNetwork) -> None:
    hu = torch.randn(1, 1, 32, 32) * 400
    left, right = (torch.full((1, 2, 32, 32), side) for side in (-1.0, 1.0))
    assert not torch.allclose(network(hu, left), network(hu, right), atol=1e-3)
