"""Version, extras, pins and workflows agree across the project's files."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import bioatt

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED = {
    canonicalize_name(re.split(r"[=<;]", line)[0].strip())
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
}


def test_one_version():
    """The version comes from `bioatt/__init__.py`, and the citation and the changelog name the same one."""
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "BioAttDenoise/bioatt/__init__.py"
    assert "version" in PROJECT["project"]["dynamic"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == bioatt.__version__
    assert f"engine {bioatt.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_changelog_names_the_shipped_models():
    cards = (ROOT / "Resources" / "Models").glob("bioatt*.md")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for card in cards:
        version = re.search(r"^\| version \| (\S+) \|", card.read_text(encoding="utf-8"), re.MULTILINE).group(1)
        assert f"{card.stem} {version}" in changelog


def test_numba_is_needed_by_the_simulator_alone():
    assert not [d for d in PROJECT["project"]["dependencies"] if d.startswith("numba")]
    extras = PROJECT["project"]["optional-dependencies"]
    assert any(d.startswith("numba") for d in extras["simulation"])
    assert "bioatt[simulation]" in extras["training"]
    assert "numba" not in (ROOT / "BioAttDenoise" / "Resources" / "requirements.txt").read_text(encoding="utf-8")


def requirements(extra: str) -> set[str]:
    """Names of the packages that the extra requires on this platform, including those of the extras it refers to."""
    found: set[str] = set()
    for line in PROJECT["project"]["optional-dependencies"][extra]:
        requirement = Requirement(line)
        if requirement.name == "bioatt":
            found = found.union(*(requirements(inner) for inner in requirement.extras))
        elif requirement.marker is None or requirement.marker.evaluate():
            found.add(canonicalize_name(requirement.name))
    return found


@pytest.mark.parametrize("extra", ["test", "docs"])
def test_every_requirement_is_pinned(extra):
    """Transitive requirements are pinned too, as far as they are installed."""
    names = requirements(extra) | {
        canonicalize_name(Requirement(line).name) for line in PROJECT["project"]["dependencies"]
    }
    looked_at: set[str] = set()
    while names - looked_at:
        name = (names - looked_at).pop()
        looked_at.add(name)
        try:
            needed = [Requirement(line) for line in distribution(name).requires or ()]
        except ModuleNotFoundError:  # the extra is not installed
            continue
        names |= {canonicalize_name(r.name) for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})}
    assert sorted(names - PINNED - {"setuptools", "pip"}) == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_call_targets_that_exist(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "permissions", "jobs"} <= set(workflow)
    runs = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    called = {target for run in runs for target in re.findall(r"\bmake ([\w-]+)", run)}
    assert called <= TARGETS
    assert runs


def test_the_workflows_cover_what_is_supported():
    names = {path.stem for path in WORKFLOWS}
    assert {"lint", "tests", "docs", "wheel", "slicer"} <= names
    matrix = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    assert all(word in matrix for word in ('"3.11"', '"3.12"', '"3.13"', "windows", "macos"))


def steps(workflow: str, job: str) -> list[dict]:
    path = ROOT / ".github" / "workflows" / f"{workflow}.yml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"][job]["steps"]


def test_the_modules_tests_run_on_slicers_own_base_python():
    """SLICER_BASE_PYTHON is the folder that the workflow checks out."""
    (checkout,) = [step["with"] for step in steps("tests", "linux") if "Slicer/Slicer" in step.get("with", {}).values()]
    (test,) = [step for step in steps("tests", "linux") if step.get("run") == "make test"]
    place = "/".join(["${{ github.workspace }}", checkout["path"], checkout["sparse-checkout"]])
    assert test["env"] == {"SLICER_BASE_PYTHON": place}


def test_slicer_is_given_every_module_of_the_extension():
    """The tests run in Slicer, and the command-line module's again once the engine's packages are installed."""
    runs = [step.get("run", "") for step in steps("slicer", "application")]
    (pictures,) = [run for run in runs if "tutorial.py" in run]
    assert "{qt-scripted-modules,cli-modules}" in pictures
    assert '--additional-module-paths "${modules[@]}"' in pictures
    packages = next(number for number, run in enumerate(runs) if "pip install" in run)
    tests = [number for number, run in enumerate(runs) if "ctest" in run]
    assert tests[0] < packages < tests[1]
    assert "-R CommandLine" in runs[tests[1]]


@pytest.mark.parametrize(
    "path",
    [*(ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"), ROOT / ".pre-commit-config.yaml"],
    ids=lambda path: path.name,
)
def test_other_yaml_files_can_be_read(path):
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def test_pictures_are_small():
    """At most 300 kB, since git keeps every version; `python Docs/shrink_pictures.py` shrinks them."""
    folders = ("Docs/images", "Resources/Screenshots", "Training/results")
    pictures = [path for folder in folders for path in (ROOT / folder).rglob("*.png")]
    assert len(pictures) > 10
    assert [path.name for path in pictures if path.stat().st_size > 300_000] == []
