"""The engine as a child process: one JSON object a line on stdin and stdout, arrays as .npy files in a private folder.

The protocol is described in Docs/worker_protocol.md. Started as

    python start_worker.py FOLDER

The worker keeps its model and prior between requests, ends when its stdin closes (its parent is gone), and then removes
FOLDER. Standard output belongs to the protocol alone: whatever a library prints lands on stderr, which is the log.
"""

from __future__ import annotations

import json
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
from bioatt.core.strength import DEFAULT_STRENGTH
from bioatt.io.files import remove_partials
from bioatt.worker.error_reply import describe, outline

if TYPE_CHECKING:
    from bioatt.core.volume import Volume
    from bioatt.inference.denoiser import Denoiser, Result

PROTOCOL = 1
PROGRESS_INTERVAL_S = 0.05
MakeDenoiser = Callable[..., "Denoiser"]
FindDevices = Callable[[], list[dict[str, str]]]

log = logging.getLogger("bioatt.worker.server")


class Channel:
    """Replies, one line each, from any thread."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.lock = threading.Lock()

    def send(self, message_type: str, **fields: Any) -> None:
        """Write one reply. A parent that is gone is not an error: the end of stdin will say so."""
        line = json.dumps({"type": message_type, **fields}, allow_nan=False).encode() + b"\n"
        with self.lock:
            try:
                self.stream.write(line)
                self.stream.flush()
            except OSError:
                log.info("nobody listens any more")


class Worker:
    """Serves requests one after another; `cancel` and the end of stdin are noticed while a request runs.

    make_denoiser(model, *, prior, descriptors, device, precision, tile) makes what denoises, by default
    `bioatt.inference.assembly.make_denoiser`;
    find_devices() lists the devices, best first, by default those that torch sees.
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
        self.requests: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.cancelled: set[int] = set()
        self.loaded: tuple[str, Denoiser, dict[str, Any] | None] | None = None
        self.writing: Path | None = None
        self.handlers = {
            "hello": self.hello,
            "check": self.check,
            "load": self.load,
            "prior": self.prior,
            "denoise": self.denoise,
            "preview": self.preview,
            "models": self.models,
        }

    def listen(self, stream: IO[bytes]) -> None:
        """Read requests until stdin ends; run in a thread of its own."""
        for line in stream:
            try:
                request = json.loads(line)
                kind, identity = request["type"], request.get("id")
            except (ValueError, TypeError, KeyError, RecursionError):
                self.channel.send("error", id=None, kind="protocol", message="a request was no JSON object with a type")
                continue
            if fault := self._fault(request):
                known = identity if isinstance(identity, int) else None
                self.channel.send("error", id=known, kind="protocol", message=fault)
            elif kind == "cancel":
                self.cancelled.add(request["request"])
            elif kind == "quit":
                break
            else:
                self.requests.put(request)
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.writing is not None:
            remove_partials(self.writing.parent, os.getpid())
        os._exit(0)  # the main thread may be deep in a computation that nobody waits for

    def _fault(self, request: dict[str, Any]) -> str:
        """What keeps a request from being worked off, or nothing. Its values may be of any JSON type."""
        kind = request["type"]
        if not isinstance(kind, str) or kind not in {*self.handlers, "cancel", "quit"}:
            return f"unknown request {kind!r}"
        number = {"cancel": "request", "quit": None}.get(kind, "id")
        if number is None or isinstance(request.get(number), int):
            return ""
        return f"{kind} needs a whole number as {number}"

    def serve(self) -> None:
        """Answer requests for ever (the listening thread ends the process)."""
        while True:
            request = self.requests.get()
            if request is not None:
                self.answer(request)

    def answer(self, request: dict[str, Any]) -> None:
        """Run one request; every outcome is one `result` or `error` reply."""
        identity = request["id"]
        try:
            self._raise_if_cancelled(identity)
            self.channel.send("result", id=identity, **self.handlers[request["type"]](request))
        except BaseException as error:  # a worker outlives every failure that leaves Python running
            if not isinstance(error, (BioAttError, MemoryError)):
                log.error("request %s failed\n%s", request["type"], outline(error))
            self.channel.send("error", id=identity, **describe(error))
        self.cancelled.discard(identity)

    def hello(self, request: dict[str, Any]) -> dict[str, Any]:
        """Versions, and the devices found."""
        return {"version": bioatt.__version__, "python": platform.python_version(), "devices": self.find_devices()}

    def check(self, request: dict[str, Any]) -> dict[str, Any]:
        """State of packages by their metadata: the way to ask before torch is there."""
        from bioatt.worker.installation import check_requirements

        return {"packages": check_requirements(request["requirements"])}

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Have a model in memory before it is needed."""
        denoiser = self._denoiser(request)
        return {"model": _model(denoiser), "device": str(denoiser.compute.device)}

    def prior(self, request: dict[str, Any]) -> dict[str, Any]:
        """The prior's probabilities of a volume's slices."""
        from bioatt.anatomy.descriptors import load_descriptor_set
        from bioatt.core.canonical import canonical
        from bioatt.priors import build_prior

        denoiser, own = self._denoiser(request), request.get("descriptors")
        source = build_prior(
            request.get("prior", "embedded"),
            descriptors=denoiser.descriptors if own is None else load_descriptor_set(own),
            device=str(denoiser.compute.device),
        )
        oriented = canonical(self._volume(request["volume"])).volume
        prior = source.probabilities(oriented, cancelled=self._asker(request["id"]))
        return {"prior": _prior_table(prior.as_table())}

    def denoise(self, request: dict[str, Any]) -> dict[str, Any]:
        """Denoise a volume, or some of its slices; with attention maps where asked."""
        return self._run(request, lambda denoiser, volume, options: denoiser.denoise(volume, **options))

    def preview(self, request: dict[str, Any]) -> dict[str, Any]:
        """Denoise one slice; `p`, a table as in a prior file of one row, overrides its prior."""
        index = int(request["slice"])
        if request.get("p") is None:
            return self.denoise({**request, "slices": [index, index + 1]})
        from bioatt.priors import Prior

        table, strength = request["p"], float(request.get("strength", DEFAULT_STRENGTH))
        row = np.asarray([table["probabilities"]], np.float32)
        given = Prior(row, tuple(table["descriptors"]), "override", ("",))

        def work(denoiser: Denoiser, volume: Volume, _: dict[str, Any]) -> Result:
            p = np.asarray(given.aligned_to(denoiser.model.descriptors).p)[0]
            return denoiser.preview(volume, index, strength=strength, p=p)

        return self._run(request, work)

    def models(self, request: dict[str, Any]) -> dict[str, Any]:
        """Download, import or remove BiomedCLIP; the caller has asked the user."""
        from bioatt.priors.biomedclip import install

        self.loaded = None
        action = request["action"]
        if action == "download":
            install.download(consent=True)
        elif action == "import":
            install.import_folder(Path(request["folder"]))
        elif action == "remove":
            install.remove()
        else:
            raise InputError(f"unknown action {action!r}: use download, import or remove")
        return {}

    def _run(
        self, request: dict[str, Any], work: Callable[[Denoiser, Volume, dict[str, Any]], Result]
    ) -> dict[str, Any]:
        identity = request["id"]
        start = time.monotonic()
        volume = self._volume(request["volume"])
        output = Path(request["output"]["path"]) if "output" in request else None
        series = request["output"].get("series") if "output" in request else None
        if output is not None:
            from bioatt.io.outputs import check_result_output, write_result

            named = [request.get(name) for name in ("model", "prior", "descriptors")]
            check_result_output(volume, output, series, read=_named_files(named))
        slices, attention = request.get("slices"), request.get("attention")
        options: dict[str, Any] = {
            "strength": float(request.get("strength", DEFAULT_STRENGTH)),
            "slices": None if slices is None else range(*slices),
            "progress": self._reporter(identity),
            "cancelled": self._asker(identity),
        }
        if attention is not None:
            from bioatt.inference.attention import AttentionRequest

            wanted: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in attention.items()}
            options["attention"] = AttentionRequest(**wanted)
        result = work(self._denoiser(request), volume, options)
        self._raise_if_cancelled(identity)
        self.writing = output
        told: tuple[str, ...] = ()
        if output is not None:
            told = write_result(
                result.volume,
                output,
                series,
                model_name=result.model.name,
                model_version=result.model.version,
                strength=result.strength,
            ).warnings
        self.writing = None
        reply = self._describe(result, identity, arrays=output is None)
        return {**reply, "warnings": [*result.warnings, *told], "seconds": time.monotonic() - start}

    def _describe(self, result: Result, identity: int, arrays: bool) -> dict[str, Any]:
        """A Result as a reply: numbers as they are, arrays as files."""
        reply: dict[str, Any] = {
            "model": {"name": result.model.name, "version": result.model.version, "sha256": result.model.sha256},
            "prior": None if result.prior is None else _prior_table(result.prior.as_table()),
            "provenance": self.loaded[2] if self.loaded is not None and result.prior is not None else None,
            "device": result.device,
            "precision": result.precision,
            "strength": result.strength,
            "noise_before": _median(result.noise_before),
            "noise_after": _median(result.noise_after),
        }
        if arrays:
            reply["array"] = self._save(f"out-{identity}.npy", result.volume.hu)
            reply["attention"] = [
                {"stage": stage, "name": name, "array": self._save(f"out-{identity}-{number}.npy", volume.hu)}
                for number, ((stage, name), volume) in enumerate(result.attention.items())
            ]
        return reply

    def _denoiser(self, request: dict[str, Any]) -> Denoiser:
        """The denoiser for a request's options: the last one, where they are the same."""
        names = ("prior", "descriptors", "device", "precision", "tile")
        options = {name: request[name] for name in names if request.get(name) is not None}
        if options.get("device") == "gpu":
            options["device"] = self._graphics_card()
        model = request.get("model", "auto")
        key = json.dumps([model, options, _stamps([model, *options.values()])], sort_keys=True)
        if self.loaded is None or self.loaded[0] != key:
            from bioatt.inference.report import provenance

            self.loaded = None  # give the memory back first
            denoiser = self.make_denoiser(model, **options)
            chosen = {name: options[name] for name in ("prior", "descriptors") if name in options}
            self.loaded = key, denoiser, provenance(denoiser, **chosen)
        return self.loaded[1]

    def _graphics_card(self) -> str:
        """Name of the best device that is not the CPU."""
        best = self.find_devices()[0]["name"]
        if best == "cpu":
            raise InputError("no graphics card was found: run on the processor, or choose automatic")
        return best

    def _volume(self, described: dict[str, Any]) -> Volume:
        """The volume of a request: a file that the engine reads, or an array in the folder with its geometry."""
        from bioatt.core.hu import check_hu
        from bioatt.core.volume import Acquisition, Volume
        from bioatt.io.images import read_volume

        if "path" in described:
            return read_volume(described["path"])
        hu = np.load(self.folder / Path(described["array"]).name)
        return Volume(
            hu,
            spacing=tuple(described["spacing"]),
            origin=tuple(described["origin"]),
            direction=np.asarray(described["direction"], float),
            acquisition=Acquisition(**described.get("acquisition", {})),
            warnings=check_hu(hu),
        )

    def _save(self, name: str, array: np.ndarray) -> str:
        path = self.folder / name
        try:
            np.save(path, np.ascontiguousarray(array))
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return name

    def _reporter(self, identity: int) -> Callable[[float, int, int, float | None], None]:
        last = 0.0

        def report(fraction: float, done: int, slices: int, eta_s: float | None) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= PROGRESS_INTERVAL_S or done == slices:
                last = now
                self.channel.send("progress", id=identity, fraction=fraction, done=done, slices=slices, eta_s=eta_s)

        return report

    def _asker(self, identity: int) -> Callable[[], bool]:
        return lambda: identity in self.cancelled

    def _raise_if_cancelled(self, identity: int) -> None:
        if identity in self.cancelled:
            raise Cancelled("cancelled")


def _named_files(options: list[Any]) -> list[Path]:
    """The files that a request's options name."""
    from bioatt.io.files import files_named

    return [file for option in options if isinstance(option, str) for file in files_named(option)]


def _stamps(options: list[Any]) -> list[tuple[int, int]]:
    """(mtime in ns, bytes) of the files that options name: an edited file is another one."""
    from bioatt.io.integrity import data_files

    found = [each.stat() for file in _named_files(options) for each in (file, *data_files(file)) if each.is_file()]
    return [(state.st_mtime_ns, state.st_size) for state in found]


def _make_denoiser(model: str, **options: Any) -> Denoiser:
    from bioatt.compute.device import tune_cpu
    from bioatt.inference.assembly import make_denoiser

    tune_cpu()
    return make_denoiser(model, **options)


def _model(denoiser: Denoiser) -> dict[str, Any]:
    model = denoiser.model
    return {
        "name": model.name,
        "version": model.version,
        "sha256": model.sha256,
        "descriptors": list(model.descriptors),
    }


def _prior_table(table: dict[str, Any]) -> dict[str, Any]:
    """A prior without the slices' identities: its rows are in the order of the canonical slices, feet to head."""
    return {key: table[key] for key in ("source", "descriptors", "probabilities")}


def _median(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else None


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
