"""Denoising for scripts and the panel: volume node in, volume node out, computed in the engine process.

logic = slicer.modules.bioattdenoise.widgetRepresentation().self().logic      # or BioAttDenoiseLogic() output =
logic.denoise(volume, strength=0.8)                                  # waits logic.denoiseAsync(volume, onDone=lambda
result: print(result.summary))       # returns at once outcomes = logic.denoiseAll()
# every CT volume of the scene report = logic.denoiseFolder("/data/scans", "/data/results")                  # like
`bioatt batch`
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from bioatt.core.provenance import DENOISED, DENOISED_BEFORE
from bioatt.core.strength import DEFAULT_STRENGTH

from .batch import Batch
from .engine import requests
from .engine.errors import EngineError
from .engine.job import Job, Kind, Request
from .engine.jobs import JobQueue
from .engine.options import EngineOptions
from .engine.process import EngineProcess, cleaning_up
from .engine.settings import models_folder
from .scene import regions, volumes
from .signals import connect

POLL_INTERVAL_MS = 25


@dataclass(frozen=True)
class DenoiseResult:
    """Result of a denoising. volume: the output node. prior: source, descriptors and probabilities by slice, or None.
    Noise in HU, None if unmeasurable. strength: 0 … 1; strength_asked: the level it comes from, or empty.
    """

    volume: Any
    options: EngineOptions
    seconds: float
    noise_before: float | None
    noise_after: float | None
    model: dict[str, str]
    prior: dict[str, Any] | None
    device: str
    strength: float
    strength_asked: str
    warnings: tuple[str, ...]
    region: regions.Region
    attention: tuple[dict[str, Any], ...] = ()

    @property
    def summary(self) -> str:
        """One line for a log."""
        noise = ""
        if self.noise_before is not None and self.noise_after is not None:
            noise = f"noise {self.noise_before:.1f} → {self.noise_after:.1f} HU, "
        prior = self.prior["source"] if self.prior else "none"
        return f"{noise}{self.seconds:.1f} s on {self.device}, model {self.model['name']}, prior {prior}"


class DenoiseLogic(Batch):
    """Mixin of the module's logic class. Call everything here from the main thread.

    python and script define how the engine process is started; tests replace them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.python = shutil.which("PythonSlicer") or sys.executable
        self.script: Path | None = None
        self.jobs = JobQueue(self._make_process)
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_INTERVAL_MS)
        connect(self._timer, "timeout()", self._poll)

    def denoise(
        self,
        inputVolume: Any,
        outputVolume: Any = None,
        *,
        slices: tuple[int, int] | None = None,
        roi: Any = None,
        **options: Any,
    ) -> Any:
        """Denoise and wait. See `denoiseAsync`; returns the output node, raises EngineError or ValueError."""
        return self._outcome(
            lambda **callbacks: self.denoiseAsync(
                inputVolume, outputVolume, slices=slices, roi=roi, **callbacks, **options
            )
        ).volume

    def denoiseAsync(
        self,
        inputVolume: Any,
        outputVolume: Any = None,
        *,
        slices: tuple[int, int] | None = None,
        roi: Any = None,
        attention: dict[str, Any] | None = None,
        organStrength: dict[str, float] | None = None,
        anatomy: requests.Anatomy = "maps",
        onDone: Callable[[DenoiseResult], None] = lambda result: None,
        onError: Callable[[Exception], None] = lambda error: None,
        onCancelled: Callable[[], None] = lambda: None,
        onProgress: Callable[[dict[str, Any]], None] = lambda progress: None,
        **options: Any,
    ) -> Job:
        """Start denoising and return; exactly one of onDone, onError and onCancelled is called later, from Slicer's
        event loop.

        outputVolume: an earlier output of this input to overwrite, or a volume without voxels; None creates a new one,
        `<input> denoised` or, for a part, `<input> partly denoised`. slices: first and last axial slice, counted from
        1; or roi, a markups ROI. Voxels outside are unchanged. attention: {stages, descriptors (None: all), unified}
        keeps the attention maps of the same run as `DenoiseResult.attention`, for the region's slices. organStrength:
        strengths, 0 … 1, of organs ({"lungs": 0.5}) found by `anatomy` (see `engine.requests.Anatomy`); everything else
        gets `strength`. options: the members of EngineOptions. onProgress receives {fraction, done, slices, eta_s}.
        Raises ValueError for a volume or region that cannot be denoised or an output of another input, EngineError if a
        denoising is running.
        """
        chosen = EngineOptions(**options)
        region = self._region(inputVolume, outputVolume, slices, roi)
        stamp = inputVolume.GetImageData().GetMTime()

        def finish(reply: dict[str, Any]) -> None:
            try:
                problem = _lost(inputVolume, stamp)
                if problem:
                    raise EngineError("input", problem)
                result = self._store(inputVolume, outputVolume, region, chosen, reply, organStrength or {})
            except Exception as error:
                onError(error)
            else:
                onDone(result)

        return self.submit(
            Kind.DENOISE,
            requests.denoise(inputVolume, region, chosen, attention, organStrength, anatomy),
            on_result=finish,
            on_error=onError,
            on_cancelled=onCancelled,
            on_progress=onProgress,
        )

    def denoiseFolder(
        self, inputFolder: str | Path, outputFolder: str | Path, rules: str | Path | None = None, **options: Any
    ) -> dict[str, Any]:
        """Denoise a folder and wait. See `denoiseFolderAsync`; returns the report, raises EngineError."""
        return self._outcome(
            lambda **callbacks: self.denoiseFolderAsync(inputFolder, outputFolder, rules, **callbacks, **options)
        )["report"]

    def denoiseFolderAsync(
        self,
        inputFolder: str | Path,
        outputFolder: str | Path,
        rules: str | Path | None = None,
        *,
        model: str = "auto",
        strength: float | str = DEFAULT_STRENGTH,
        device: str = "auto",
        organStrength: dict[str, float] | None = None,
        onDone: Callable[[dict[str, Any]], None] = lambda reply: None,
        onError: Callable[[Exception], None] = lambda error: None,
        onCancelled: Callable[[], None] = lambda: None,
        onProgress: Callable[[dict[str, Any]], None] = lambda progress: None,
    ) -> Job:
        """Start denoising all scans of a folder and its subfolders into another, like `bioatt batch` (Docs/batch.md),
        and return; the scene is not touched. Repeat the call to resume an interrupted batch.

        rules: a TOML file that selects the scans and their settings; without it all are denoised with model, strength
        and organStrength. onDone receives {report, page}: the content of report.json, and the path of the report page.
        onProgress receives {fraction, done, scans, eta_s}. Raises EngineError if a denoising is running.
        """
        request = requests.batch(
            Path(inputFolder).absolute(),  # the engine process has a different current folder
            Path(outputFolder).absolute(),
            Path(rules).absolute() if rules else None,
            model=model,
            strength=strength,
            device=device,
            organ_strength=organStrength or {},
        )
        return self.submit(
            Kind.FILES,
            request,
            on_result=onDone,
            on_error=onError,
            on_cancelled=onCancelled,
            on_progress=onProgress,
        )

    def _outcome(self, begin: Callable[..., Job]) -> Any:
        """Wait for the job that begin(onDone, onError) starts; returns its result or raises its error."""
        outcome: list[Any] = []
        begin(onDone=outcome.append, onError=outcome.append)
        self.wait()
        if not outcome:
            raise EngineError("cancelled", _("The denoising was cancelled."))
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]

    def submit(self, kind: Kind, request: Request | None, **more: Any) -> Job:
        """Put a job into the queue (see JobQueue.submit), polled from Slicer's event loop."""
        self._timer.start()
        return self.jobs.submit(kind, request, **more)

    def ensure(
        self,
        kind: Kind,
        prior: str,
        onReady: Callable[[], None],
        onError: Callable[[Exception], None],
        onCancelled: Callable[[], None] = lambda: None,
        install: bool = True,
    ) -> None:
        """Wait until a job of a kind may start and everything for a prior's source is installed. Missing packages are
        installed after asking; with install=False they are an error.
        """
        try:
            self.submit(
                kind,
                None,
                on_result=lambda reply: onReady(),
                on_error=onError,
                on_cancelled=onCancelled,
                needs=prior,
                install=install,
            )
        except EngineError as error:
            onError(error)

    def cancel(self) -> None:
        """Cancel the running or waiting job. Its onCancelled is called within a second; the scene is unchanged."""
        self.jobs.cancel()

    def wait(self) -> None:
        """Wait for the running job, without Slicer's event loop."""
        while self.jobs.busy:
            self.jobs.poll()
            time.sleep(0.005)

    def shutdown(self) -> None:
        """End the engine process. The next denoising starts a new one."""
        self._timer.stop()
        self.jobs.stop()

    def _poll(self) -> None:
        self.jobs.poll()
        if not (self.jobs.busy or cleaning_up()):
            self._timer.stop()

    def _make_process(self) -> EngineProcess:
        environment = slicer.util.startupEnvironment()
        environment["PYTHONUNBUFFERED"] = "1"
        # Spinning threads compete with Slicer for the CPU and make the engine ten times slower.
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        environment["BIOATT_MODELS"] = str(models_folder())
        more = {} if self.script is None else {"script": self.script}
        return EngineProcess(self.python, temporary=slicer.app.temporaryPath, environment=environment, **more)

    def _region(self, node: Any, output: Any, slices: tuple[int, int] | None, roi: Any) -> regions.Region:
        """The requested region. Raises ValueError if it cannot be denoised, or if the output volume cannot be used."""
        problem = volumes.problem(node)
        if problem:
            raise ValueError(problem)
        if output is not None and output is node:
            raise ValueError(
                _('The output would overwrite the input. Choose another output volume, or "Create new volume".')
            )
        if output is not None and not volumes.takes_output(output, node):
            raise ValueError(
                _(
                    '"{output}" was not made from "{input}". Choose another output volume, or "Create new volume".'
                ).format(output=output.GetName(), input=node.GetName())
            )
        shape, matrix = slicer.util.arrayFromVolume(node).shape, volumes.ijk_to_ras(node)
        if roi is not None:
            return regions.box_region(shape, matrix, volumes.box_corners(roi, node))
        if slices is not None:
            return regions.slice_region(shape, matrix, *slices)
        return regions.whole_region(shape, matrix)

    def _store(
        self,
        source: Any,
        target: Any,
        region: regions.Region,
        options: EngineOptions,
        reply: dict[str, Any],
        organs: dict[str, float],
    ) -> DenoiseResult:
        """Put the reply into the scene. Everything that can fail is done before anything is added."""
        before = slicer.util.arrayFromVolume(source)
        if region.whole:
            voxels = regions.cast(reply["array"], before.dtype)
        else:
            voxels = before.copy()
            region.insert(voxels, region.received(reply["array"]))
        if target is not None and not slicer.mrmlScene.IsNodePresent(target):
            target = None  # removed meanwhile
        part = _part(region, voxels.shape)
        name = _("{name} denoised") if part == volumes.WHOLE else _("{name} partly denoised")
        node = volumes.make_output(source, target, name.format(name=source.GetName()))
        slicer.util.updateVolumeFromArray(node, voxels)
        prior = reply["prior"]
        strength, asked = reply["strength"], reply["strength_asked"] or ""
        volumes.describe_output(
            node,
            source,
            {
                "Model": reply["model"]["name"],
                "ModelVersion": reply["model"]["version"],
                "ModelSHA256": reply["model"]["sha256"],
                "Prior": prior["source"] if prior else "none",
                **_provenance(reply["provenance"]),
                "Strength": f"{strength:g}",
                "StrengthLevel": asked or None,
                "Region": part,
                "OrganStrength": json.dumps(organs, sort_keys=True) if organs else None,
                "Settings": options.settings(organs),
                "InputVoxels": volumes.voxels_checksum(source),
                "Device": reply["device"],
                "Note": f"{DENOISED}. Research use only.",
            },
        )
        volumes.describe_series(node, source, reply["model"]["name"], strength, part == volumes.WHOLE, asked)
        if region.box is not None:
            reply |= {
                "noise_before": None,
                "noise_after": None,
            }  # measured on whole slices, which the output does not contain
        return DenoiseResult(
            volume=node,
            options=options,
            seconds=reply["seconds"],
            noise_before=reply["noise_before"],
            noise_after=reply["noise_after"],
            model=reply["model"],
            prior=prior,
            device=reply["device"],
            strength=strength,
            strength_asked=asked,
            warnings=(*reply["warnings"], *([DENOISED_BEFORE] if volumes.denoised(source) else [])),
            region=region,
            attention=tuple(reply["attention"]),
        )


def _part(region: regions.Region, shape: tuple[int, ...]) -> str:
    """The denoised part of an array of a shape (k, j, i), both ends included. Slices count from 1, voxels from 0 like
    Slicer's IJK indices.
    """
    if region.whole or region.box == tuple(slice(0, count) for count in shape):
        return volumes.WHOLE
    if region.box is None:
        return f"axial slices {region.start + 1}-{region.stop} of {region.count}"
    ends = zip("ijk", reversed(region.box), strict=True)
    return "voxels " + ", ".join(f"{axis} {along.start}-{along.stop - 1}" for axis, along in ends)


def _provenance(made_of: dict[str, Any] | None) -> dict[str, str | None]:
    """Attributes that record a prior's descriptor set and files; None removes those of an earlier output."""
    words = made_of["descriptor_set"] if made_of else None
    return {
        "DescriptorSet": words["name"] if words else None,
        "DescriptorSetSHA256": words["sha256"] if words else None,
        "PriorFilesSHA256": " ".join(made_of["prior_files_sha256"]) or None if made_of else None,
    }


def _lost(node: Any, stamp: int) -> str:
    """Why the result no longer matches the input; empty if it does."""
    if not slicer.mrmlScene.IsNodePresent(node):
        return _("The input volume was removed during denoising. Nothing was added to the scene.")
    if node.GetImageData() is None or node.GetImageData().GetMTime() != stamp:
        return _("The input volume was modified during denoising. Nothing was added to the scene; press Denoise again.")
    return ""
