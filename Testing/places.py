"""Paths in the repository for the tests of the Slicer module."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "BioAttDenoise"
DOCS = ROOT / "Docs"
STAND_IN = ROOT / "Testing" / "module" / "stand_in_worker.py"
DICOM_FIXTURES = ROOT / "Testing" / "engine" / "io" / "conftest.py"
PRIOR_FIXTURES = ROOT / "Testing" / "engine" / "priors" / "conftest.py"
