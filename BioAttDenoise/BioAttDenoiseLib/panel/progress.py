"""The progress bar: how far a job is; while nobody knows, a busy bar and what is being done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from ..engine.job import Job, Stage
from . import results


class Progress:
    """Owns the progress bar. say(text) writes below it."""

    def __init__(self, bar: Any, say: Callable[[str], None]) -> None:
        self.bar, self.say = bar, say
        self._stage: Stage | None = None

    def begin(self, text: str) -> None:
        """Something has begun whose end nobody knows."""
        self.bar.setRange(0, 0)
        self.say(text)

    def follow(self, job: Job | None) -> None:
        """Say what is done for a denoising that runs, before its first slice is done."""
        stage = job.stage if job is not None and job.request is not None and job.request.kind == "denoise" else None
        if stage is not None and stage is not self._stage:
            self.begin(stage_text(stage))
        self._stage = stage

    def show(self, progress: dict[str, Any]) -> None:
        """A message of a job, as the logic hands it on, with `volume` ("2 of 5") in a batch of the scene."""
        if self.bar.maximum == 0:  # what was being done has been said
            self.say("")
        self.bar.setRange(0, 100)
        self.bar.value = round(100 * progress["fraction"])
        left = results.time_left(progress["eta_s"])
        text = _("scans done: {done} of {scans}") if "scans" in progress else _("slice {done} of {slices}")
        place = text.format(**progress)
        if "volume" in progress:
            place = _("volume {volume}").format(**progress) + f" · {place}"
        self.bar.setFormat(f"%p % · {place} · {left}" if left and progress["fraction"] < 1 else f"%p % · {place}")


def stage_text(stage: Stage) -> str:
    """What is done for a job, for people."""
    return {
        Stage.SENDING: _("Handing the volume to the engine…"),
        Stage.STARTING: _("Loading the model, measuring noise, finding anatomy…"),
    }[stage]
