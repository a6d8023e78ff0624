"""Prior itself, and the priors that ignore the image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.core.errors import InputError
from bioatt.core.noise import CONTEXT_SLICES
from bioatt.core.volume import Volume
from bioatt.priors import FixedPrior, Prior, RandomPrior, build_prior
from bioatt.priors.smoothing import smoothed

PAPER = load_descriptor_set("paper17")
NAMES = ("liver", "spleen", "spine")


def _prior(p: object, names: tuple[str, ...] = NAMES) -> Prior:
    rows = np.asarray(p, np.float32)
    return Prior(rows, names, "test", tuple("abcdefgh"[: len(rows)]))


def test_aligned_by_name_not_by_place() -> None:
    prior = _prior([[0.5, 0.3, 0.2]]).aligned_to(("spine", "liver"))
    assert prior.descriptors == ("spine", "liver")
    np.testing.assert_allclose(prior.p, [[0.2 / 0.7, 0.5 / 0.7]], rtol=1e-6)


def test_aligning_a_slice_that_shows_only_dropped_descriptors_gives_equal_shares() -> None:
    np.testing.assert_allclose(_prior([[1.0, 0.0, 0.0]]).aligned_to(("spleen", "spine")).p, [[0.5, 0.5]])


def test_sets_that_do_not_cover_are_refused_with_the_list() -> None:
    with pytest.raises(InputError, match="does not cover the descriptors brain, heart"):
        _prior([[0.5, 0.3, 0.2]]).aligned_to(("brain", "liver", "heart"))


@pytest.mark.parametrize("p", [[[0.5, 0.5, 0.5]], [[1.5, -0.5, 0]], [[np.nan, 0.5, 0.5]], [[0.5, 0.5]]])
def test_what_is_no_distribution_is_refused(p: object) -> None:
    with pytest.raises(InputError, match=r"distribution|does not fit"):
        _prior(p)


def test_select_follows_identity() -> None:
    prior = _prior([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(prior.select(("c", "a")).p, [[0, 0, 1], [1, 0, 0]])
    with pytest.raises(InputError, match="contains 1 of 2 slices"):
        prior.select(("a", "x"))


def test_uniform(torso: Volume) -> None:
    p = build_prior("uniform", descriptors=PAPER).probabilities(torso).p
    assert p.shape == (9, 17)
    np.testing.assert_allclose(p, 1 / 17, rtol=1e-6)


def test_random_depends_on_seed_and_slice_not_on_place(torso: Volume) -> None:
    p = build_prior("random:7", descriptors=PAPER).probabilities(torso).p
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert np.array_equal(p[4:6], RandomPrior(PAPER.descriptors, 7).probabilities(torso.part(range(4, 6))).p)
    assert not np.allclose(p, build_prior("random:8", descriptors=PAPER).probabilities(torso).p)
    assert not np.allclose(p[0], p[1])


def test_table_round_trip(torso: Volume, tmp_path: Path) -> None:
    prior = build_prior("random", descriptors=PAPER).probabilities(torso)
    path = tmp_path / "prior.json"
    path.write_text(json.dumps(prior.as_table()), encoding="utf-8")
    read = build_prior(str(path), descriptors=PAPER)
    part = torso.part(range(3, 6))
    np.testing.assert_allclose(read.probabilities(part).p, prior.p[3:6], atol=1e-6)
    other = Volume(torso.hu + np.int16(1), spacing=torso.spacing)
    with pytest.raises(InputError, match="contains 0 of 9 slices"):
        read.probabilities(other)


def test_one_row_for_every_slice(torso: Volume, tmp_path: Path) -> None:
    path = tmp_path / "prior.json"
    path.write_text(json.dumps({"descriptors": NAMES, "probabilities": [0.5, 0.25, 0.25]}), encoding="utf-8")
    prior = build_prior(str(path), descriptors=PAPER).probabilities(torso)
    np.testing.assert_array_equal(prior.p, np.repeat([[0.5, 0.25, 0.25]], 9, axis=0))
    assert prior.descriptors == NAMES


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("nonsense", "is not JSON"),
        ("[]", "a prior must be"),
        ('{"descriptors": ["a", "b"], "probabilities": [[0.5, 0.6]]}', "not a distribution"),
        ('{"descriptors": ["a", "b"], "probabilities": [[1]]}', "2 numbers per slice"),
        ('{"descriptors": ["a", "b"], "probabilities": [["x", 1]]}', "must be numbers"),
        ('{"descriptors": ["a", "a"], "probabilities": [[0.5, 0.5]]}', "unique"),
        ('{"descriptors": ["a", 1], "probabilities": [[0.5, 0.5]]}', "list of strings"),
        ('{"descriptors": ["a", "b"], "probabilities": [[1, 0], [0, 1]]}', "identifiers"),
        ('{"descriptors": ["a", "b"], "slices": ["s"], "probabilities": [[1, 0], [0, 1]]}', "does not fit 1 slices"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, table: str, reason: str) -> None:
    path = tmp_path / "prior.json"
    path.write_text(table, encoding="utf-8")
    with pytest.raises(InputError, match=reason):
        FixedPrior.from_file(path)


@pytest.mark.parametrize("source", ["", "clip", "random:x", "nowhere.json"])
def test_unknown_sources_are_refused(source: str) -> None:
    with pytest.raises(InputError, match=r"unknown prior|seed|cannot be opened"):
        build_prior(source, descriptors=PAPER)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 12), st.floats(0.3, 20), st.floats(0.5, 10), st.integers(0, 99))
def test_smoothing_keeps_distributions_and_a_constant(count: int, step: float, sigma: float, seed: int) -> None:
    p = np.random.default_rng(seed).dirichlet(np.ones(5), count).astype(np.float32)
    result = smoothed(p, step, sigma)
    np.testing.assert_allclose(result.sum(axis=1), 1, rtol=1e-5)
    assert result.min() >= 0
    np.testing.assert_allclose(smoothed(np.repeat(p[:1], count, 0), step, sigma), np.repeat(p[:1], count, 0), rtol=1e-5)
    np.testing.assert_allclose(smoothed(p[::-1], step, sigma), result[::-1], rtol=1e-5, atol=1e-7)


def test_smoothing_is_local_and_in_mm() -> None:
    p = np.zeros((21, 2), np.float32)
    p[:, 0] = 1
    p[10] = (0, 1)
    near = smoothed(p, 2.0, 4.0)
    assert near[10, 1] > near[9, 1] > near[8, 1] > 0
    assert not near[: 10 - CONTEXT_SLICES, 1].any()
    assert smoothed(p, 20.0, 4.0)[9, 1] < 1e-4, "neighbours 20 mm away say nothing"
    np.testing.assert_array_equal(smoothed(p[6:15], 2.0, 4.0)[4], near[10])
