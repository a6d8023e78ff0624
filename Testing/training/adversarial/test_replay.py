"""Replay of earlier fakes, which is the same for a resumed run and for processes that share a batch."""

from __future__ import annotations

import torch

from bioatt_training.adversarial.replay import Replay


def fakes(step, places=4):
    """Images whose value encodes their step and their position in the batch."""
    return (100.0 * step + torch.arange(places))[:, None, None, None].expand(-1, 1, 2, 2)


def shown(replay, steps, first=0, places=4):
    return [replay.exchanged(fakes(step, first + places)[first:], step)[:, 0, 0, 0].tolist() for step in steps]


def test_half_of_what_is_shown_is_older_and_of_the_same_place():
    told = torch.tensor(shown(Replay(3, seed=1), range(200)))[3:]
    ages = (torch.arange(3, 200)[:, None] - told // 100).double()
    assert (told % 100 == torch.arange(4)).all()
    assert (ages >= 0).all()
    assert 0.4 < (ages > 0).double().mean() < 0.6
    assert ages.max() > 5


def test_none_without_slots():
    assert shown(Replay(0, seed=1), range(5)) == [(100.0 * step + torch.arange(4)).tolist() for step in range(5)]


def test_two_processes_see_what_one_sees():
    whole = shown(Replay(3, seed=1), range(20))
    halves = [shown(Replay(3, seed=1, first=first), range(20), first, 2) for first in (0, 2)]
    assert [a + b for a, b in zip(*halves, strict=True)] == whole


def test_resumed():
    whole, killed = Replay(3, seed=1), Replay(3, seed=1)
    expected = shown(whole, range(20))
    before = shown(killed, range(9))
    resumed = Replay(3, seed=1)
    resumed.held = killed.held
    assert before + shown(resumed, range(9, 20)) == expected
