"""The software bill of materials lists the packages pinned in constraints.txt."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_bill_of_materials_names_every_pinned_package_with_its_version(tmp_path):
    """Runs the same command as `make sbom`."""
    if importlib.util.find_spec("cyclonedx_py") is None:
        pytest.skip("needs cyclonedx-bom: pip install 'bioatt[sbom]'")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    words = re.search(r"cyclonedx-py (requirements .*)", makefile).group(1).split()
    words[words.index("-o") + 1] = str(tmp_path / "sbom.json")
    subprocess.run([sys.executable, "-m", "cyclonedx_py", *words], cwd=ROOT, check=True, capture_output=True)
    bill = json.loads((tmp_path / "sbom.json").read_text(encoding="utf-8"))
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "bioatt"
    told = {(part["name"], part.get("version")) for part in bill["components"]}
    pins = re.findall(r"^([\w.-]+)==([^;\s]+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(pins) > 100
    assert set(pins) <= told
