"""Many volumes in a row: all CT volumes of the scene, or a folder of files and DICOM series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from . import volumes
from .engine import EngineError
from .options import DenoiseOptions

SUFFIXES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")
ONE_FILE = {".nhdr": ".nrrd", ".mhd": ".mha"}
"""What the engine writes instead of a header with the voxels in a file of their own."""

Start = Callable[..., Any]
"""start(onDone, onError, onCancelled, onProgress) begins one volume; onDone gets what came out."""


class BatchRun:
    """Volumes one after another, each begun when the one before is done; the first that fails ends it.

    steps: (name, start) of each. onEach(outcome) after every volume, onDone(outcomes) at the end; onError(error) names
    the volume; onCancelled(). onProgress gets a volume's progress as a part of the whole, with «volume»: "2 of 5".
    `outcomes` has what is done so far.
    """

    def __init__(
        self,
        steps: list[tuple[str, Start]],
        *,
        onEach: Callable[[Any], None] = lambda outcome: None,
        onDone: Callable[[list[Any]], None] = lambda outcomes: None,
        onError: Callable[[Exception], None] = lambda error: None,
        onCancelled: Callable[[], None] = lambda: None,
        onProgress: Callable[[dict[str, Any]], None] = lambda progress: None,
    ) -> None:
        self.steps, self.outcomes = steps, []
        self._each, self._done, self._error = onEach, onDone, onError
        self._cancelled, self._progress = onCancelled, onProgress

    def next(self) -> None:
        """Begin the next volume, or end."""
        number = len(self.outcomes)
        if number == len(self.steps):
            self._done(self.outcomes)
            return
        name, start = self.steps[number]
        try:
            start(
                onDone=self._finished,
                onError=lambda error: self._failed(name, error),
                onCancelled=self._cancelled,
                onProgress=self._told,
            )
        except (ValueError, EngineError) as error:
            self._failed(name, error)

    def _finished(self, outcome: Any) -> None:
        self.outcomes.append(outcome)
        self._each(outcome)
        self.next()

    def _failed(self, name: str, error: Exception) -> None:
        text = f"{name}: {error}"
        self._error(EngineError(error.kind, text) if isinstance(error, EngineError) else type(error)(text))

    def _told(self, progress: dict[str, Any]) -> None:
        number, count = len(self.outcomes), len(self.steps)
        fraction = (number + progress["fraction"]) / count
        place = _("{number} of {count}").format(number=number + 1, count=count)
        self._progress({**progress, "fraction": fraction, "eta_s": None, "volume": place})


class Batch:
    """Mixed into the logic: runs its requests one after another."""

    def denoiseAll(
        self, volumeNodes: list[Any] | None = None, onDone: Callable[[Any], None] = lambda node: None, **options
    ) -> list[Any]:
        """Denoise volume nodes (by default every CT volume of the scene that was not made here) and wait; returns the
        output nodes. onDone(node) after each.

        Raises what `denoise` raises; the outputs made before stay.
        """
        return self._wait_for(
            lambda **callbacks: self.denoiseAllAsync(volumeNodes, onEach=onDone, **callbacks, **options)
        )

    def denoiseAllAsync(self, volumeNodes: list[Any] | None = None, **more) -> BatchRun:
        """As `denoiseAll`, without waiting: the callbacks of `BatchRun` and the members of DenoiseOptions."""
        callbacks, chosen = _sorted(more)
        nodes = volumes.ct_volumes() if volumeNodes is None else volumeNodes

        def start(node: Any) -> Start:
            def begin(onDone: Callable[[Any], None], **rest: Any) -> None:
                self.denoiseAsync(node, onDone=lambda result: onDone(result.volume), **rest, **chosen)

            return begin

        return self._begin([(node.GetName(), start(node)) for node in nodes], callbacks)

    def denoiseFolder(
        self,
        inputFolder: str | Path,
        outputFolder: str | Path,
        onDone: Callable[[Path], None] = lambda path: None,
        **options,
    ) -> list[Path]:
        """Denoise every volume file, and every subfolder as a DICOM series, into another folder under the same names
        (.nhdr as .nrrd, .mhd as .mha), and wait; the scene is not touched. onDone(path) after each.

        Returns what was written. Raises EngineError for the first one that cannot be denoised.
        """
        written = self._wait_for(
            lambda **callbacks: self.denoiseFolderAsync(
                inputFolder, outputFolder, onEach=lambda outcome: onDone(outcome[0]), **callbacks, **options
            )
        )
        return [path for path, _warnings in written]

    def denoiseFolderAsync(self, inputFolder: str | Path, outputFolder: str | Path, **more) -> BatchRun:
        """As `denoiseFolder`, without waiting: the callbacks of `BatchRun`, whose outcomes are (path, warnings), and
        the members of DenoiseOptions. Raises EngineError for folders that cannot be used.
        """
        callbacks, chosen = _sorted(more)
        source, target = Path(inputFolder), Path(outputFolder)
        if not source.is_dir():
            raise EngineError("input", _("There is no folder {name}.").format(name=source.name))
        if target.resolve() == source.resolve():
            raise EngineError("input", _("The output folder is the input folder. Choose another one."))
        entries = [p for p in sorted(source.iterdir()) if p.is_dir() or p.name.lower().endswith(SUFFIXES)]
        entries = [path for path in entries if path.resolve() != target.resolve()]
        if not entries:
            raise EngineError("input", _("There is no volume file or DICOM folder in {name}.").format(name=source.name))
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EngineError("input", f"{target.name}: {error.strerror}") from None
        fields = DenoiseOptions(**chosen).request()

        def start(path: Path) -> Start:
            def begin(onDone, onError, onCancelled, onProgress) -> None:
                output = target / _output_name(path)
                self.request(
                    "denoise",
                    {**fields, "volume": {"path": str(path)}, "output": {"path": str(output)}},
                    on_result=lambda reply: onDone((output, tuple(reply["warnings"]))),
                    on_error=onError,
                    on_cancelled=onCancelled,
                    on_progress=onProgress,
                )

            return begin

        return self._begin([(path.name, start(path)) for path in entries], callbacks)

    @staticmethod
    def _begin(steps: list[tuple[str, Start]], callbacks: dict[str, Any]) -> BatchRun:
        run = BatchRun(steps, **callbacks)
        run.next()
        return run

    def _wait_for(self, begin: Callable[..., BatchRun]) -> list[Any]:
        errors: list[Exception] = []
        stopped = EngineError("cancelled", _("The batch was cancelled."))
        run = begin(onError=errors.append, onCancelled=lambda: errors.append(stopped))
        self.wait()
        if errors:
            raise errors[0]
        return run.outcomes


def _output_name(path: Path) -> str:
    suffix = path.suffix.lower()
    return path.stem + ONE_FILE[suffix] if suffix in ONE_FILE and not path.is_dir() else path.name


def _sorted(more: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The callbacks, and the options for denoising."""
    callbacks = {name: value for name, value in more.items() if name.startswith("on")}
    return callbacks, {name: value for name, value in more.items() if name not in callbacks}
