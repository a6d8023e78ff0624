"""The progress bar: how far a job is; while nobody knows, a busy bar and what is being done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from . import results


class Progress:
    """Owns the progress bar. say(text) writes below it."""

    def __init__(self, bar: Any, say: Callable[[str], None]) -> None:
        self.bar, self.say = bar, say
        self._said = False

    def begin(self, text: str) -> None:
        """Something has begun whose end nobody knows."""
        self.bar.setRange(0, 0)
        self.say(text)
        self._said = True

    def show(self, progress: dict[str, Any]) -> None:
        """A message of a job, as `denoiseAsync` hands it on, with `volume` ("2 of 5") in a batch."""
        volume = _("volume {volume}").format(**progress) + " · " if "volume" in progress else ""
        if "stage" in progress:
            self.begin(volume + stage_text(progress["stage"]))
            return
        if self._said:
            self.say("")
            self._said = False
        self.bar.setRange(0, 100)
        self.bar.value = round(100 * progress["fraction"])
        left = results.time_left(progress["eta_s"])
        slices = volume + _("slice {done} of {slices}").format(**progress)
        self.bar.setFormat(f"%p % · {slices} · {left}" if left and progress["fraction"] < 1 else f"%p % · {slices}")


def stage_text(stage: str) -> str:
    """What a job does before its first slice is done."""
    return {
        "sending": _("Handing the volume to the engine…"),
        "starting": _("Loading the model, measuring noise, finding anatomy…"),
    }[stage]
