"""The engine as a child process: one JSON object per line on stdin and stdout, arrays as .npy in a private folder.

The protocol is described in Docs/worker_protocol.md. Started as

    python start_worker.py FOLDER

The worker keeps its model and prior between requests. When its stdin closes (its parent has gone), it ends and removes
FOLDER. Standard output is reserved for the protocol: anything a library prints goes to stderr, which is the log.
"""

from __future__ import annotations

import logging
import os
import platform
import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

import bioatt
from bioatt.core.errors import BioAttError, Cancelled, InputError
from bioatt.inference.options import EngineOptions
from bioatt.io.files import remove_partials
from bioatt.worker import messages
from bioatt.worker.channel import PROTOCOL, Channel, ProtocolError, parse_request
from bioatt.worker.error_reply import describe, outline
from bioatt.worker.messages import FindDevices

if TYPE_CHECKING:
    from bioatt.core.volume import Volume
    from bioatt.inference.denoiser import Denoiser, Result

PROGRESS_INTERVAL_S = 0.05
MakeDenoiser = Callable[[EngineOptions], "Denoiser"]
Work = Callable[["Denoiser", "Volume", dict[str, Any]], "Result"]
"""Computation for a request: (denoiser, volume, arguments of `messages.denoise_arguments`) → result."""

log = logging.getLogger("bioatt.worker.server")


class Worker:
    """Serves requests one by one; `cancel` and the end of stdin take effect while a request runs.

    make_denoiser: by default `bioatt.inference.assembly.make_denoiser`. find_devices: lists the devices, best first; by
    default those that torch finds.
    """

    def __init__(
        self,
        channel: Channel,
        folder: Path,
        make_denoiser: MakeDenoiser | None = None,
        find_devices: FindDevices | None = None,
    ) -> None:
        self.channel = channel
        self.folder = folder
        self.make_denoiser = make_denoiser or _make_denoiser
        self.find_devices = find_devices or _find_devices
        self.requests: queue.Queue[dict[str, Any]] = queue.Queue()
        self.cancelled: set[int] = set()
        self.loaded: tuple[Any, Denoiser, dict[str, Any] | None] | None = None
        self.writing: Path | None = None
        self.handlers = {
            "hello": self.hello,
            "check": self.check,
            "load": self.load,
            "prior": self.prior,
            "strength": self.strength,
            "denoise": self.denoise,
            "batch": self.batch,
            "preview": self.preview,
            "organs": self.organs,
            "models": self.models,
            "export": self.export,
        }

    def listen(self, stream: IO[bytes]) -> None:
        """Read requests until stdin ends, then end the process; runs in a separate thread."""
        for line in stream:
            try:
                request = parse_request(line)
            except ProtocolError as error:
                self.channel.send("error", id=error.identity, kind="protocol", message=str(error))
                continue
            if request["type"] == "quit":
                break
            if request["type"] == "cancel":
                self.cancelled.add(request["request"])
            else:
                self.requests.put(request)
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.writing is not None:
            remove_partials(self.writing.parent, os.getpid())
        os._exit(0)  # the main thread may be busy with a computation that is no longer needed

    def serve(self) -> None:
        """Answer requests forever (the listening thread ends the process)."""
        while True:
            self.answer(self.requests.get())

    def answer(self, request: dict[str, Any]) -> None:
        """Run one request; every outcome is one `result` or `error` reply."""
        identity = request["id"]
        try:
            self._raise_if_cancelled(identity)
            self.channel.send("result", id=identity, **self.handlers[request["type"]](request))
        except BaseException as error:  # a worker survives every failure that leaves Python running
            if not isinstance(error, (BioAttError, MemoryError)):
                log.error("request %s failed\n%s", request["type"], outline(error))
            self.channel.send("error", id=identity, **describe(error))
        self.cancelled.discard(identity)

    def hello(self, request: dict[str, Any]) -> dict[str, Any]:
        """Versions, and the devices found."""
        return {"version": bioatt.__version__, "python": platform.python_version(), "devices": self.find_devices()}

    def check(self, request: dict[str, Any]) -> dict[str, Any]:
        """State of packages from their metadata; works before torch is installed."""
        from bioatt.worker.installation import check_requirements

        return {"packages": check_requirements(request["requirements"])}

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Load a model in advance."""
        denoiser = self._denoiser(request)
        return {
            "model": messages.model_reply(denoiser),
            "device": str(denoiser.compute.device),
            "way": str(denoiser.way),
        }

    def prior(self, request: dict[str, Any]) -> dict[str, Any]:
        """The prior's probabilities for a volume's slices."""
        from bioatt.anatomy.descriptors import load_descriptor_set
        from bioatt.core.canonical import canonical
        from bioatt.priors import build_prior

        denoiser = self._denoiser(request)
        options = messages.engine_options(request, self.find_devices)
        own = options.descriptors
        source = build_prior(
            denoiser.model.prior_source(options.prior),
            descriptors=denoiser.descriptors if own is None else load_descriptor_set(own),
            device=str(denoiser.compute.device),
        )
        volume = canonical(messages.volume_of(request["volume"], self.folder)).volume
        prior = source.probabilities(volume, cancelled=lambda: request["id"] in self.cancelled)
        return {"prior": messages.prior_reply(prior.as_table())}

    def strength(self, request: dict[str, Any]) -> dict[str, Any]:
        """The strengths of low, medium and high for a volume."""
        denoiser, volume = self._denoiser(request), messages.volume_of(request["volume"], self.folder)
        return messages.strength_reply(denoiser.noise_removal(volume, lambda: request["id"] in self.cancelled))

    def denoise(self, request: dict[str, Any]) -> dict[str, Any]:
        """Denoise a volume or some of its slices, with attention maps if requested."""
        return self._run(request, lambda denoiser, volume, arguments: denoiser.denoise(volume, **arguments))

    def batch(self, request: dict[str, Any]) -> dict[str, Any]:
        """Denoise all scans in an input into a folder, in separate processes."""
        from bioatt.service.batch import Told
        from bioatt.worker.batch import batch

        self.loaded = None  # leave the memory to those processes
        report = self._reporter(request["id"], "scans")

        def told(course: Told) -> None:
            self._raise_if_cancelled(request["id"])
            report(course.fraction, course.number, course.count, course.eta_s)

        return batch(request, messages.engine_options(request, self.find_devices).device, told)

    def preview(self, request: dict[str, Any]) -> dict[str, Any]:
        """Denoise one slice; `p`, a prior table of one row, replaces its prior."""
        index, table = int(request["slice"]), request.get("p")
        if table is None:
            return self.denoise({**request, "slices": [index, index + 1]})

        def work(denoiser: Denoiser, volume: Volume, arguments: dict[str, Any]) -> Result:
            p = messages.probabilities_of(table, denoiser.model.descriptors)
            chosen = {key: arguments[key] for key in ("strength", "organ_strength", "anatomy") if key in arguments}
            return denoiser.preview(volume, index, **chosen, p=p)

        return self._run(request, work)

    def organs(self, request: dict[str, Any]) -> dict[str, Any]:
        """Measure a scan's organs; the label volume and the maps go through the private folder."""
        from bioatt.compute.device import choose
        from bioatt.worker.organs import measured

        identity, start = request["id"], time.monotonic()
        device = choose(messages.engine_options(request, self.find_devices).device).device
        reply = measured(request, self.folder, str(device), lambda: identity in self.cancelled, self._save)
        return {**reply, "seconds": time.monotonic() - start}

    def models(self, request: dict[str, Any]) -> dict[str, Any]:
        """Download, import or remove BiomedCLIP; the caller has asked the user."""
        from bioatt.priors.biomedclip import install

        self.loaded = None
        action, folder = request["action"], request.get("folder")
        if action == "download":
            install.download(consent=True)
        elif action == "remove":
            install.remove()
        elif folder is None:
            raise InputError("import needs folder: give the folder of the model's files")
        else:
            install.import_folder(Path(folder))
        return {}

    def export(self, request: dict[str, Any]) -> dict[str, Any]:
        """Write a denoised volume as a derived DICOM series."""
        from bioatt.worker.export import export

        self.writing = Path(request["output"]["path"])
        try:
            return export(request, lambda fields: messages.volume_of(fields, self.folder))
        finally:
            self.writing = None

    def _run(self, request: dict[str, Any], work: Work) -> dict[str, Any]:
        from bioatt.io.outputs import check_result_output

        start, identity = time.monotonic(), request["id"]
        volume, place = messages.volume_of(request["volume"], self.folder), request.get("output") or {}
        output, series = Path(place["path"]) if place else None, place.get("series")
        if output is not None:
            read = messages.engine_options(request, self.find_devices).files()
            check_result_output(volume, output, series, read=read)
        arguments = {
            **messages.denoise_arguments(request, self.folder),
            "progress": self._reporter(identity),
            "cancelled": lambda: identity in self.cancelled,
        }
        result = work(self._denoiser(request), volume, arguments)
        self._raise_if_cancelled(identity)
        assert self.loaded is not None
        reply, warnings = messages.result_reply(result, self.loaded[2]), result.warnings
        if output is None:
            reply |= self._saved(result, identity)
        else:
            warnings += self._written(result, output, series)
        return {**reply, "warnings": list(warnings), "seconds": time.monotonic() - start}

    def _written(self, result: Result, output: Path, series: bool | None) -> tuple[str, ...]:
        """Write the result's volume; returns warnings."""
        from bioatt.io.outputs import write_result

        self.writing = output
        try:
            return write_result(
                result.volume,
                output,
                series,
                model_name=result.model.name,
                model_version=result.model.version,
                strength=result.strength,
                strength_asked=result.strength_asked,
                organ_strength=result.organ_strength,
            )
        finally:
            self.writing = None

    def _saved(self, result: Result, identity: int) -> dict[str, Any]:
        """Save the result's arrays in the private folder; returns their names for the reply."""
        maps = [
            {"stage": stage, "name": name, "array": self._save(f"out-{identity}-{number}.npy", volume.hu)}
            for number, ((stage, name), volume) in enumerate(result.attention.items())
        ]
        return {"array": self._save(f"out-{identity}.npy", result.volume.hu), "attention": maps}

    def _save(self, name: str, array: np.ndarray) -> str:
        path = self.folder / name
        try:
            np.save(path, np.ascontiguousarray(array))
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return name

    def _denoiser(self, request: dict[str, Any]) -> Denoiser:
        """The denoiser for a request's options; the last one is reused if options and files are unchanged."""
        options = messages.engine_options(request, self.find_devices)
        key = options, messages.file_stamps(options)
        if self.loaded is None or self.loaded[0] != key:
            from bioatt.inference.report import provenance

            self.loaded = None  # free the memory first
            denoiser = self.make_denoiser(options)
            self.loaded = key, denoiser, provenance(denoiser, options)
        return self.loaded[1]

    def _reporter(self, identity: int, unit: str = "slices") -> Callable[[float, int, int, float | None], None]:
        last = 0.0

        def report(fraction: float, done: int, count: int, eta_s: float | None) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= PROGRESS_INTERVAL_S or done == count:
                last = now
                progress = {"fraction": fraction, "done": done, unit: count, "eta_s": eta_s}
                self.channel.send("progress", id=identity, **progress)

        return report

    def _raise_if_cancelled(self, identity: int) -> None:
        if identity in self.cancelled:
            raise Cancelled("cancelled")


def _make_denoiser(options: EngineOptions) -> Denoiser:
    from bioatt.compute.device import tune_cpu
    from bioatt.inference.assembly import make_denoiser

    tune_cpu()
    return make_denoiser(options)


def _find_devices() -> list[dict[str, str]]:
    from bioatt.compute.device import available

    return available()


def main(
    argv: list[str] | None = None,
    make_denoiser: MakeDenoiser | None = None,
    find_devices: FindDevices | None = None,
) -> None:
    """Take over stdin and stdout and serve until stdin ends. argv: the private folder."""
    folder = Path((argv or sys.argv[1:])[0])
    replies = os.fdopen(os.dup(1), "wb")
    requests = os.fdopen(os.dup(0), "rb")
    os.dup2(2, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    channel = Channel(replies)
    worker = Worker(channel, folder, make_denoiser, find_devices)
    threading.Thread(target=worker.listen, args=(requests,), daemon=True).start()
    channel.send("ready", pid=os.getpid(), protocol=PROTOCOL, version=bioatt.__version__)
    worker.serve()
