"""The progress bar: a job's progress, or a busy bar and the current step while progress is unknown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from ..engine.job import Job, Stage
from . import results


class Progress:
    """Owns the progress bar. say(text) shows a message below it."""

    def __init__(self, bar: Any, say: Callable[[str], None]) -> None:
        self.bar, self.say = bar, say
        self._stage: Stage | None = None

    def begin(self, text: str) -> None:
        """Show a busy bar for a job of unknown duration."""
        self.bar.setRange(0, 0)
        self.say(text)

    def follow(self, job: Job | None) -> None:
        """Show the current step of a running denoising until its first slice is done."""
        stage = job.stage if job is not None and job.request is not None and job.request.kind == "denoise" else None
        if stage is not None and stage is not self._stage:
            self.begin(stage_text(stage))
        self._stage = stage

    def show(self, progress: dict[str, Any]) -> None:
        """A job's progress message as forwarded by the logic, with `volume` ("2 of 5") in a batch."""
        if self.bar.maximum == 0:  # clear the step message
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
    """Display text for the step of a job."""
    return {
        Stage.SENDING: _("Sending the volume to the engine…"),
        Stage.STARTING: _("Loading the model, measuring noise, finding anatomy…"),
    }[stage]
