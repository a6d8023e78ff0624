"""The workaround makes all packages that need torchvision importable and hides no other error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def _python(code: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    before = f"import sys; sys.path.insert(0, {str(path)!r})\n" if path else ""
    return subprocess.run([sys.executable, "-c", before + code], capture_output=True, text=True)


@pytest.mark.slow
def test_all_five_import() -> None:
    code = (
        "from bioatt.compute.torchvision_cure import import_torchvision\n"
        "import_torchvision(); import_torchvision()\n"
        "import open_clip, timm, lightning, torchmetrics\n"
        "from transformers import BertModel\n"
    )
    result = _python(code)
    assert result.returncode == 0, result.stderr[-2000:]


CALL = "from bioatt.compute.torchvision_cure import import_torchvision as cure, _libraries\ncure()\n"


def _fake(folder: Path, body: str) -> Path:
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(body)
    return folder


def test_cured_only_after_that_very_error(tmp_path: Path) -> None:
    """Like the real one, the fake torchvision looks up its operators in torch when imported."""
    asks = "import torch\ntorch.library.register_fake('torchvision::nms')(lambda *a: None)\nfine = True\n"
    code = CALL + "import torchvision; assert torchvision.fine and len(_libraries) == 1"
    cured = _python(code, _fake(tmp_path, asks))
    assert cured.returncode == 0, cured.stderr[-2000:]


def test_a_good_torchvision_is_left_alone(tmp_path: Path) -> None:
    good = _python(CALL + "assert not _libraries", _fake(tmp_path, "fine = True\n"))
    assert good.returncode == 0, good.stderr[-2000:]


def test_other_errors_pass_through(tmp_path: Path) -> None:
    other = _python(CALL, _fake(tmp_path, "raise RuntimeError('out of luck')\n"))
    assert other.returncode == 1
    assert "out of luck" in other.stderr


def test_absent_torchvision_is_no_error() -> None:
    absent = _python("import sys; sys.modules['torchvision'] = None\n" + CALL)
    assert absent.returncode == 0, absent.stderr[-2000:]
