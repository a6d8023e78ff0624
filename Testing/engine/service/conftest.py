"""Shared by the tests of batches: a tree of scans, a small model, and rules that use it."""

from __future__ import annotations

import pytest

from bioatt.io.images import write_volume
from bioatt.service.results import Results, index_of
from bioatt.service.rules import Rule
from bioatt.service.studies import Engine, denoise_series


@pytest.fixture
def tree(series_writer, make_volume, tmp_path):
    """a/ and b/: one DICOM series each, of 32 x 32 pixels; b/c/scan.nrrd: a volume file."""
    top = tmp_path / "in"
    for seed, name in enumerate("ab"):
        series_writer.write_series(top / name, series_writer.ct_like(3, 32, 32, seed=seed), CTDIvol=4.0)
    (top / "b" / "c").mkdir()
    write_volume(make_volume(slices=3, height=40, width=40), top / "b" / "c" / "scan.nrrd")
    return top


@pytest.fixture
def rule(make_model):
    """Build a rule that uses a small model."""
    make_model()

    def make(tmp_path, **settings):
        return Rule("small", model=str(tmp_path / "tiny.safetensors"), **settings)

    return make


@pytest.fixture
def denoised(rule, tmp_path):
    """Denoise a series into `tmp_path/out` with a rule that uses the small model."""
    engine, out = Engine("cpu"), tmp_path / "out"

    def run(series, *, rules=None, **settings):
        rules = (rule(tmp_path, **settings),) if rules is None else rules
        return denoise_series(series, rules, Results(out, index_of(out)), engine)

    return run
