"""The snippets of Docs/slicer_scripting.md run as they are written."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


def test_the_three_snippets(slicer, module, make_ct, until, tmp_path, monkeypatch, capsys):
    import BioAttDenoise
    from bioatt.core.volume import Volume
    from bioatt.io.images import write_volume
    from BioAttDenoiseLib.engine.options import DenoiseOptions

    stand_in = Path(__file__).with_name("stand_in_worker.py")

    class Logic(BioAttDenoise.BioAttDenoiseLogic):
        def __init__(self):
            super().__init__()
            self.python, self.script = sys.executable, stand_in

    monkeypatch.setattr(BioAttDenoise, "BioAttDenoiseLogic", Logic)
    monkeypatch.setattr(DenoiseOptions, "__init__", _with_model(DenoiseOptions.__init__))
    make_ct(slices=80)
    (tmp_path / "low").mkdir()
    write_volume(Volume(np.full((2, 16, 16), -1000, np.int16)), tmp_path / "low" / "a.nrrd")
    text = (ROOT / "Docs" / "slicer_scripting.md").read_text(encoding="utf-8").replace("/data/", f"{tmp_path}/")
    first, second, third = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    scope = {"slicer": slicer}
    exec(first, scope)
    assert scope["output"].GetName() == "CT denoised"
    exec(second, scope)
    until(lambda: not scope["logic"].engine.busy)
    assert "noise 20.0 → 8.0 HU" in capsys.readouterr().out
    exec(third, scope)
    assert [outcome.error for outcome in scope["outcomes"]] == [None]
    assert (tmp_path / "denoised" / "a.nrrd").is_file()


def _with_model(init):
    return lambda self, **options: init(self, **{"model": "steady", **options})
