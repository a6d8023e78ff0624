"""The classical filters: each denoises, gets the right noise level, and is tuned to its best setting."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bioatt.core.metrics import rmse
from bioatt_training.studies.benchmark import baselines as filters
from bioatt_training.studies.benchmark.baselines import FILTERS, GRIDS, Baseline, blended, settings
from bioatt_training.studies.benchmark.images import Image, Noise
from bioatt_training.studies.benchmark.store import Store
from bioatt_training.studies.benchmark.truth import Case
from bioatt_training.studies.benchmark.tuning import tuned

NEEDS = {"BM3D": "bm3d", "BM3D, noise spectrum": "bm3d", "NLM": "skimage", "ANTs NLM": "ants"}
SIGMA = 25.0


@pytest.fixture
def truth():
    """Soft tissue with an insert, 96² pixels."""
    y, x = np.mgrid[:96, :96]
    return np.where(np.hypot(y - 40, x - 50) < 15, 110, 40).astype(np.int16)


@pytest.fixture
def noisy(truth):
    """`truth` with 25 HU of correlated noise."""
    noise = gaussian_filter(np.random.default_rng(0).normal(size=truth.shape), 0.7)
    return np.rint(truth + SIGMA * noise / noise.std()).astype(np.int16)


def test_every_filter_has_a_grid():
    assert set(GRIDS) == set(FILTERS)
    assert len(settings("bilateral")) == 16


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_takes_noise_away(name, truth, noisy):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    setting = settings(name)[len(settings(name)) // 2]
    output = Baseline(name, setting)(Image(noisy, 0.8, known=Noise(SIGMA)))
    assert output.shape == truth.shape
    assert rmse(truth, output) < 0.85 * rmse(truth, noisy)


def test_a_strength_blends(noisy):
    baseline = Baseline("bilateral", (("domain_px", 1.5), ("scale", 2.0)), 0.5)
    image = Image(noisy, 0.8, known=Noise(SIGMA))
    whole = Baseline("bilateral", baseline.setting)(image)
    assert baseline(image) == pytest.approx((noisy + whole) / 2, abs=1e-3)
    assert baseline.identity != Baseline("bilateral", baseline.setting).identity


def test_the_spectrum_of_measured_noise_has_its_variance():
    frequency = np.linspace(0.03, 0.6, 16)
    noise = Noise(10.0, frequency, frequency * np.exp(-frequency / 0.1))
    power = noise.spectrum((64, 80), 0.8)
    assert power.sum() / power.size**2 == pytest.approx(100)
    assert power[0, 0] < power.max() / 3
    assert np.ptp(Noise(10.0).spectrum((8, 8), 0.8)) == 0


def test_noise_is_measured_where_it_is_not_known(noisy):
    assert Image(noisy, 0.8).noise.sigma == pytest.approx(SIGMA, rel=0.3)
    assert Image(np.full((64, 64), -1000, np.int16), 0.8).noise.sigma > 0


def test_a_middle_knows_the_noise_of_the_whole(noisy):
    image = Image(noisy, 0.8)
    middle, part = image.middle(32)
    assert middle.noise is image.noise
    assert np.array_equal(middle.hu, noisy[part])


def test_tuning_finds_the_best_setting_and_remembers_what_was_tried(truth, noisy, tmp_path, monkeypatch):
    tried = []

    def toy(image: Image, *, scale: float) -> np.ndarray:
        tried.append(scale)
        return blended(image.hu, truth, scale)

    monkeypatch.setitem(FILTERS, "toy", toy)
    monkeypatch.setitem(GRIDS, "toy", {"scale": (0.2, 1.0, 0.6)})
    case = Case("a", "a", "chest", "soft", 0.8, 5.0, truth, lambda dose: noisy)
    for _ in range(2):
        found = tuned([case], Store(tmp_path / "kept.jsonl"), ["toy"])["soft"]["toy"]
        assert (found.setting, found.strength) == ((("scale", 1.0),), 1.0)
    assert tried == [0.2, 1.0, 0.6]


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert filters.missing() == ["bm3d", "ants", "skimage"]


@pytest.mark.parametrize("name", ["BM3D", "bilateral"])
def test_every_filter_is_judged_blended_with_its_input_too(truth, noisy, tmp_path, monkeypatch, name):
    def toy(image: Image, *, scale: float) -> np.ndarray:
        return blended(image.hu, truth, scale)

    monkeypatch.setitem(FILTERS, name, toy)
    monkeypatch.setitem(GRIDS, name, {"scale": (1.25,)})
    case = Case("a", "a", "chest", "soft", 0.8, 5.0, truth, lambda dose: noisy)
    found = tuned([case], Store(tmp_path / "kept.jsonl"), [name])["soft"]
    assert {key: baseline.strength for key, baseline in found.items()} == {name: 1.0, f"{name}, blended": 0.8}
