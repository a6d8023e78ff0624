"""Time for the first sample: from the panel's button to the sample on screen, and from Denoise to the output.

python Testing/bench/bench_first_sample.py        # the real engine and the module's panel in a headless Slicer

The engine process starts and imports torch while the panel opens.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "screenshots"))

from window import open_module, slicer, wait


def seconds(step: Callable[[], None], done: Callable[[], object]) -> float:
    start = time.monotonic()
    step()
    wait(done)
    return time.monotonic() - start


def main() -> None:
    slicer.app.layoutManager()
    start = time.monotonic()
    widget = open_module()
    opened = time.monotonic() - start
    panel, ui = widget.self().panel, widget.self().ui
    loaded = seconds(ui.sampleButton.click, lambda: panel.parameters.inputVolume is not None)
    shape = panel.parameters.inputVolume.GetImageData().GetDimensions()
    denoised = seconds(ui.denoiseButton.click, lambda: panel.lastResult is not None)
    print(f"panel open, engine's process ready: {opened:.1f} s")
    print(f"sample of {' x '.join(map(str, shape))} voxels on screen: {loaded:.1f} s")
    print(f"Denoise to output: {denoised:.1f} s (model {panel.lastResult.volume.GetAttribute('BioAttDenoise.Model')})")
    widget.self().cleanup()
    slicer.mrmlScene.Clear(0)


if __name__ == "__main__":
    main()
