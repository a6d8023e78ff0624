"""Batches of volumes in the scene: all CT volumes, or those of a sequence. For folders see `DenoiseLogic`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

from .engine.errors import EngineError, as_engine_error
from .engine.options import EngineOptions
from .scene import sequences, slice_views, volumes

Start = Callable[..., Any]
"""start(onDone, onError, onCancelled, onProgress) starts one volume; onDone receives its result and the warnings."""


@dataclass(frozen=True)
class Outcome:
    """Outcome of one volume of a batch.

    result: the output node; None if it failed (`error` holds the reason). skipped: the output already existed and is
    unchanged.
    """

    name: str
    result: Any = None
    warnings: tuple[str, ...] = ()
    error: Exception | None = None
    skipped: bool = False

    @property
    def lines(self) -> list[str]:
        """Warnings or the error for the user, one line each."""
        texts = self.warnings if self.error is None else str(self.error).splitlines()[:1]
        return [f"⚠ {self.name}: {text.rstrip('.')}." for text in texts]


class BatchRun:
    """Denoises volumes one after another; a failure does not stop the run.

    steps: (name, start) of each. onEach(outcome) after every volume, onDone(outcomes) at the end; onCancelled().
    onProgress receives a volume's progress as a fraction of the whole run, with `volume`: "2 of 5". `outcomes` holds
    the `skipped` volumes, then those finished so far.
    """

    def __init__(
        self,
        steps: list[tuple[str, Start]],
        *,
        skipped: list[Outcome] | None = None,
        onEach: Callable[[Outcome], None] = lambda outcome: None,
        onDone: Callable[[list[Outcome]], None] = lambda outcomes: None,
        onCancelled: Callable[[], None] = lambda: None,
        onProgress: Callable[[dict[str, Any]], None] = lambda progress: None,
    ) -> None:
        self.steps, self.outcomes, self.number = steps, list(skipped or ()), 0
        self._each, self._done, self._cancelled, self._progress = onEach, onDone, onCancelled, onProgress

    def next(self) -> None:
        """Start the next volume that can start, or finish."""
        while self.number < len(self.steps):
            name, start = self.steps[self.number]
            try:
                start(
                    onDone=lambda result, warnings, name=name: self._ended(Outcome(name, result, tuple(warnings))),
                    onError=lambda error, name=name: self._ended(Outcome(name, error=as_engine_error(error))),
                    onCancelled=self._cancelled,
                    onProgress=self._told,
                )
                return
            except Exception as error:  # of this volume only; the next may fit in memory
                self._add(Outcome(name, error=as_engine_error(error)))
        self._done(self.outcomes)

    def _ended(self, outcome: Outcome) -> None:
        self._add(outcome)
        self.next()

    def _add(self, outcome: Outcome) -> None:
        self.number += 1
        self.outcomes.append(outcome)
        self._each(outcome)

    def _told(self, progress: dict[str, Any]) -> None:
        count = len(self.steps)
        fraction = (self.number + progress["fraction"]) / count
        place = _("{number} of {count}").format(number=self.number + 1, count=count)
        self._progress({**progress, "fraction": fraction, "eta_s": None, "volume": place})


class Batch:
    """Mixin of the logic: runs its requests one after another."""

    denoiseAsync: Callable[..., Any]
    wait: Callable[[], None]

    def denoiseAll(
        self,
        volumeNodes: list[Any] | None = None,
        onDone: Callable[[Outcome], None] = lambda outcome: None,
        **options: Any,
    ) -> list[Outcome]:
        """Denoise volume nodes (by default every CT volume of the scene that is not an output of this module), wait,
        and return their outcomes. onDone(outcome) is called after each. organStrength: strengths, 0 … 1, of organs that
        the organ maps find. A volume is skipped if the scene holds its output with the same settings and its voxels
        have not changed since. Raises EngineError if cancelled.
        """
        return self._wait_for(
            lambda **callbacks: self.denoiseAllAsync(volumeNodes, onEach=onDone, **callbacks, **options)
        )

    def denoiseAllAsync(self, volumeNodes: list[Any] | None = None, **more: Any) -> BatchRun:
        """Like `denoiseAll`, without waiting. Takes the callbacks of `BatchRun`, organStrength and the members of
        EngineOptions.
        """
        callbacks, organs, chosen = _sorted(more)
        nodes = volumes.ct_volumes() if volumeNodes is None else volumeNodes

        def start(node: Any) -> Start:
            def begin(onDone: Callable[[Any, Any], None], **rest: Any) -> None:
                rest["onDone"] = lambda result: onDone(result.volume, result.warnings)
                self.denoiseAsync(node, **rest, **organs, **chosen)

            return begin

        settings = EngineOptions(**chosen).settings(organs["organStrength"])
        made = {node: volumes.output_made(node, settings) for node in nodes}
        skipped = [Outcome(node.GetName(), made[node], skipped=True) for node in nodes if made[node] is not None]
        return self._begin([(node.GetName(), start(node)) for node in nodes if made[node] is None], callbacks, skipped)

    def denoiseSequence(
        self, sequence: Any, onDone: Callable[[Outcome], None] = lambda outcome: None, **options: Any
    ) -> list[Outcome]:
        """Denoise every volume of a sequence into a new sequence, wait, and return the outcomes; their result is the
        new sequence. See `denoiseSequenceAsync`. Raises EngineError if cancelled.
        """
        return self._wait_for(
            lambda **callbacks: self.denoiseSequenceAsync(sequence, onEach=onDone, **callbacks, **options)
        )

    def denoiseSequenceAsync(self, sequence: Any, **more: Any) -> BatchRun:
        """Like `denoiseSequence`, without waiting. Takes the callbacks of `BatchRun`, organStrength and the members of
        EngineOptions. A strength level is resolved on the first volume and applied to all, so that the noise does not
        change from phase to phase. Raises EngineError for a sequence that holds no volumes.
        """
        callbacks, organs, chosen = _sorted(more)
        problem = sequences.problem(sequence)
        if problem:
            raise EngineError("input", problem)
        made: list[Any] = []

        def keep(result: Any, index: str) -> Any:
            first = not made
            if first:
                made.append(sequences.make_like(sequence))
            sequences.take(made[0], result.volume, index)
            if first:
                sequences.play_with(made[0], sequence)
            chosen["strength"] = result.strength
            return made[0]

        def start(number: int) -> Start:
            def begin(onDone: Callable[[Any, Any], None], onError: Any, onCancelled: Any, onProgress: Any) -> None:
                node = sequences.item(sequence, number)

                def ended(callback: Callable[..., None]) -> Callable[..., None]:
                    return lambda *what: (slice_views.remove(node), callback(*what))[1]

                def done(result: Any) -> None:
                    onDone(keep(result, sequence.GetNthIndexValue(number)), result.warnings)

                try:
                    self.denoiseAsync(
                        node,
                        onDone=ended(done),
                        onError=ended(onError),
                        onCancelled=ended(onCancelled),
                        onProgress=onProgress,
                        **organs,
                        **chosen,
                    )
                except Exception:
                    slice_views.remove(node)
                    raise

            return begin

        numbers = range(sequence.GetNumberOfDataNodes())
        return self._begin([(sequences.item_name(sequence, n), start(n)) for n in numbers], callbacks)

    @staticmethod
    def _begin(
        steps: list[tuple[str, Start]], callbacks: dict[str, Any], skipped: list[Outcome] | None = None
    ) -> BatchRun:
        run = BatchRun(steps, skipped=skipped, **callbacks)
        run.next()
        return run

    def _wait_for(self, begin: Callable[..., BatchRun]) -> list[Outcome]:
        cancelled: list[bool] = []
        run = begin(onCancelled=lambda: cancelled.append(True))
        self.wait()
        if cancelled:
            raise EngineError("cancelled", _("The batch was cancelled."))
        return run.outcomes


def report(outcomes: list[Outcome], done: str) -> str:
    """Summary of a batch: `done`, counts of skipped and failed volumes, then a line for each warning and failure."""
    skipped = sum(outcome.skipped for outcome in outcomes)
    failed = sum(outcome.error is not None for outcome in outcomes)
    lines = [done]
    if skipped:
        lines.append(_("Skipped, output already exists: {count}.").format(count=skipped))
    if failed:
        lines.append(_("Failed: {count}.").format(count=failed))
    return "\n".join([*lines, *(line for outcome in outcomes for line in outcome.lines)])


def finished(outcomes: list[Outcome]) -> list[Outcome]:
    """The volumes that were denoised."""
    return [outcome for outcome in outcomes if outcome.error is None and not outcome.skipped]


def _sorted(more: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Split into callbacks, strength by organ, and members of EngineOptions."""
    callbacks = {name: value for name, value in more.items() if name.startswith("on")}
    organs = {"organStrength": more.get("organStrength") or {}}
    return callbacks, organs, {name: value for name, value in more.items() if name not in callbacks | organs}
