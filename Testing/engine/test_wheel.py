"""The installed wheel, not only the clone, finds its models and descriptor sets."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_wheel_carries_what_the_engine_needs(tmp_path):
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    built = subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    site = tmp_path / "site"
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(site)
        assert not [name for name in wheel.namelist() if name.startswith(("Testing", "scratch", "Docs"))]
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import bioatt, bioatt_training; assert bioatt.__file__.startswith(sys.argv[1])\n"
        "from bioatt.inference.models import default_model, load_model\n"
        "from bioatt.anatomy.descriptors import load_descriptor_set\n"
        "from bioatt.priors import build_prior\n"
        "load_model(default_model('cpu'))\n"
        "build_prior('maps', descriptors=load_descriptor_set('paper17'))"
    )
    used = subprocess.run([sys.executable, "-c", code, str(site)], cwd=tmp_path, capture_output=True, text=True)
    assert used.returncode == 0, used.stderr
