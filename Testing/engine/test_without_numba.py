"""The engine runs without numba (extra `simulation`), which is not installed in Slicer."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def test_scans_are_denoised_and_the_demo_names_the_extra(tmp_path, make_model, make_volume):
    from bioatt.io.images import write_volume

    make_model(arm="bioatt", filters=2, name="tiny")
    write_volume(make_volume(), tmp_path / "scan.nrrd")
    code = textwrap.dedent("""
        import sys
        sys.modules["numba"] = None  # every import of it fails
        from bioatt.cli import main
        model = ["--model", "tiny.safetensors", "--device", "cpu"]
        print(main(["denoise", "scan.nrrd", "out.nrrd", *model]), main(["demo", "folder", *model]))
    """)
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert run.stdout.splitlines()[-1:] == ["0 2"], run.stderr
    assert (tmp_path / "out.nrrd").is_file()
    assert "pip install 'bioatt[simulation]'" in run.stderr.splitlines()[-1]
    assert not (tmp_path / "folder").exists()
