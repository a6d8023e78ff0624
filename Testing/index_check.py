"""Check the criteria of Slicer's Extensions Index that can be checked locally: python Testing/index_check.py

Prints one line per criterion and exits 1 if any is not met. The criteria come from the index's pull request template
and from its check_description_files.py.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENTRY = ROOT / "BioAttDenoise.json"
KEYS = {
    "$schema", "category", "scm_url", "scm_revision", "scm_type", "build_dependencies", "build_subdirectory", "enabled",
    "tier", "dicom_support_rule",
}  # fmt: skip
CATEGORIES = {"Filtering", "Image Synthesis", "Quantification", "Tomographic Reconstruction", "Utilities"}
"""The index's categories that could apply."""
LARGEST_CLONE = 100e6
ELSEWHERE = (
    "topic 3d-slicer-extension, unused features hidden: set on GitHub by the maintainer",
    "the pull requests for preview and stable, and a review: by the maintainer",
    "builds on Windows, macOS and Linux: by the index's factory (tier 3)",
    "maintainers who answer issues and mentions in the forum (tier 3)",
    "revision: the branch is chosen with the pull request (scm_revision is left out)",
)


def _cmake(variable: str) -> str:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    found = re.search(rf'set\s*\({variable}\s*"([^"]*)"\s*\)', text)
    return found[1] if found else ""


def _entry() -> dict:
    return json.loads(ENTRY.read_text(encoding="utf-8"))


def _raw_file(url: str) -> bool:
    """Whether the URL is a raw URL of this repository and its file exists locally and is a PNG."""
    path = re.fullmatch(r"https://raw\.githubusercontent\.com/[^/]+/[^/]+/main/(.+)", url)
    return path is not None and (ROOT / path[1]).read_bytes().startswith(b"\x89PNG")


def _clone_bytes() -> int:
    """Size of a full clone: the pack that git would send for this commit, plus the checked-out files."""
    git = ["git", "-C", str(ROOT)]
    packed = [*git, "pack-objects", "--revs", "--stdout", "--quiet", "--delta-base-offset"]
    pack = subprocess.run(packed, input=b"HEAD\n", capture_output=True, check=True).stdout
    files = subprocess.run([*git, "ls-files", "-z"], capture_output=True, text=True, check=True).stdout.split("\0")
    return len(pack) + sum((ROOT / name).stat().st_size for name in files if name and (ROOT / name).is_file())


def _file_scope_imports() -> bool:
    """Whether the module's file imports nothing but sys and slicer at file scope."""
    text = (ROOT / "BioAttDenoise" / "BioAttDenoise.py").read_text(encoding="utf-8")
    tops = {line.split()[1].split(".")[0] for line in text.splitlines() if re.match(r"(import|from) ", line)}
    return tops <= {"sys", "slicer"}


def _readme(*words: str) -> bool:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return all(word in text for word in words)


CRITERIA: tuple[tuple[str, Callable[[], bool]], ...] = (
    ("name does not begin with Slicer, and is the project's", lambda: _project() == ENTRY.stem == "BioAttDenoise"),
    ("repository is called Slicer + name", lambda: _entry()["scm_url"].endswith("/SlicerBioAttDenoise")),
    ("entry has only keys of the schema", lambda: {"$schema", "category", "scm_url"} <= set(_entry()) <= KEYS),
    ("schema is versioned", lambda: bool(re.search(r"entry-schema-v1\.0\.\d\.json#$", _entry()["$schema"]))),
    ("category is one of the index's", lambda: _entry()["category"] in CATEGORIES),
    ("no revision is named", lambda: "scm_revision" not in _entry()),
    ("line ends are LF", lambda: b"\r" not in ENTRY.read_bytes()),
    ("dependencies are those of CMake", lambda: _entry()["build_dependencies"] == _cmake("EXTENSION_DEPENDS").split()),
    ("torch comes by the extension PyTorch", lambda: "PyTorch" in _entry()["build_dependencies"]),
    (
        "description of one or two sentences",
        lambda: 1 <= len(re.findall(r"\.(\s|$)", _cmake("EXTENSION_DESCRIPTION"))) <= 2,
    ),
    ("homepage is the repository", lambda: _cmake("EXTENSION_HOMEPAGE") == _entry()["scm_url"]),
    ("icon is a raw URL of a PNG", lambda: _raw_file(_cmake("EXTENSION_ICONURL"))),
    ("screenshot is a raw URL of a PNG", lambda: all(map(_raw_file, _cmake("EXTENSION_SCREENSHOTURLS").split()))),
    ("licence in the root", lambda: (ROOT / "LICENSE.txt").is_file()),
    ("full clone below 100 MB", lambda: _clone_bytes() < LARGEST_CLONE),
    ("README has a picture, the publication, and how to cite", lambda: _readme(".png", "BioAtt", "CITATION")),
    ("tutorial with sample data (tier 3)", lambda: (ROOT / "Docs" / "tutorial.md").is_file()),
    ("nothing but Slicer is imported at file scope", _file_scope_imports),
)


def _project() -> str:
    found = re.search(r"^project\((\w+)\)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else ""


def unmet() -> list[str]:
    """The criteria that are not met."""
    return [text for text, met in CRITERIA if not met()]


if __name__ == "__main__":
    missing = unmet()
    for text, _met in CRITERIA:
        print(f"{'NO ' if text in missing else 'yes'}  {text}")
    print(f"     (a full clone has {_clone_bytes() / 1e6:.0f} MB)")
    for text in ELSEWHERE:
        print(f"--   {text}")
    sys.exit(bool(missing))
