"""Peers on the loopback interface for the node's tests, and a stand-in for the engine."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt

from bioatt.service.node.audit import FILE
from bioatt.service.node.node import Node
from bioatt.service.node.settings import Destination, Listen, NodeSettings
from bioatt.service.node.spool import Spool

collect_ignore_glob = ["test_*.py"] if sys.platform == "win32" else []
"""The node runs on Linux and macOS only."""

_SPEC = importlib.util.spec_from_file_location("stand_in", Path(__file__).with_name("stand_in.py"))
stand_in = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(stand_in)


@pytest.fixture
def ct():
    """CT images of one series: ct(3) makes three in a new study, ct(3, study=UID) in that study."""

    def make(count: int = 3, study: str | None = None, size: int = 16, **elements: object) -> list[Dataset]:
        study, series = study or generate_uid(), generate_uid()
        return [image(k, study, series, size, elements) for k in range(count)]

    def image(k: int, study: str, series: str, size: int, elements: dict) -> Dataset:
        data = Dataset()
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID = study, series
        data.PatientName, data.PatientID, data.Modality = "Secret^Name", "SECRET-ID", "CT"
        data.SeriesDescription, data.SeriesNumber, data.InstanceNumber = "Chest", 1, k + 1
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.Rows = data.Columns = size
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.RescaleSlope, data.RescaleIntercept = 1, 0
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 3 * k], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [0.8, 0.8], 3
        data.PixelData = np.full((size, size), 40 + k, np.int16).tobytes()
        data["PixelData"].VR = "OW"
        for keyword, value in elements.items():
            setattr(data, keyword, value)
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = CTImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        return data

    return make


@pytest.fixture
def free_port():
    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    return find


@pytest.fixture
def archive(free_port):
    """A DICOM storage peer: `.images` holds what arrived; `.status` is the status that it returns."""

    class Archive:
        def __init__(self) -> None:
            self.port, self.images, self.status, self._server = free_port(), [], 0x0000, None

        def start(self, **options: object) -> None:
            entity = AE("ARCHIVE")
            entity.add_supported_context(CTImageStorage)
            handlers = [(evt.EVT_C_STORE, self._store)]
            self._server = entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers, **options)

        def stop(self) -> None:
            if self._server is not None:
                self._server.shutdown()
                self._server = None

        def _store(self, event: evt.Event) -> int:
            if self.status == 0x0000:
                self.images.append(event.dataset)
            return self.status

    one = Archive()
    yield one
    one.stop()


@pytest.fixture
def settings(tmp_path, free_port):
    """Settings of a node that sends into a folder: settings(quiet_s=1, destinations=...)."""

    def make(destinations: tuple[Destination, ...] | None = None, **listen: object) -> NodeSettings:
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        return NodeSettings(
            spool=tmp_path / "spool",
            destinations=destinations or (Destination("folder", folder=out),),
            folder=tmp_path,
            listen=Listen(**{"port": free_port(), "quiet_s": 0.3, "timeout_s": 3.0, **listen}),
            free_mb=0,
        )

    return make


@pytest.fixture
def spool(tmp_path):
    """The spool of `settings`, without a node."""
    one = Spool(tmp_path / "spool")
    yield one
    one.close()


@pytest.fixture
def run_node():
    """Run a node in a thread of this process: run_node(settings); it is stopped at the end."""
    running: list[tuple[threading.Event, threading.Thread]] = []

    def start(settings: NodeSettings, denoise=stand_in.denoise, **options: object) -> Node:
        node, stopped = Node(settings, denoise, pause_s=0.05, **options), threading.Event()
        thread = threading.Thread(target=node.run, args=(stopped,))
        thread.start()
        running.append((stopped, thread))
        return node

    def stop() -> None:
        while running:
            stopped, thread = running.pop()
            stopped.set()
            thread.join()

    start.stop = stop
    yield start
    stop()


@pytest.fixture
def send():
    """Send images to a port by C-STORE; returns their statuses, None if the association broke off."""

    def run(images, port: int, called: str = "BIOATT", calling: str = "CT1", **options: object) -> list[int | None]:
        entity = AE(calling)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = 10
        for syntax in {image.file_meta.TransferSyntaxUID for image in images}:
            entity.add_requested_context(images[0].SOPClassUID, syntax)
        association = entity.associate("127.0.0.1", port, ae_title=called, **options)
        if not association.is_established:
            return []
        try:
            with contextlib.suppress(RuntimeError):
                return [association.send_c_store(image).get("Status") for image in images]
            return [None]
        finally:
            association.release()

    return run


@pytest.fixture
def wait_until():
    def wait(condition, seconds: float = 60.0) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, "it did not happen in time"
            time.sleep(0.02)

    return wait


@pytest.fixture
def derived():
    """Headers of the derived series in a folder destination, by UID of the source image."""

    def read(folder: Path) -> dict[str, Dataset]:
        found = [dcmread(file) for file in sorted(folder.rglob("*.dcm")) if not file.parent.name.startswith(".")]
        return {data.SourceImageSequence[0].ReferencedSOPInstanceUID: data for data in found}

    return read


@pytest.fixture
def audit_of():
    """Entries of a node's log so far."""

    def read(settings: NodeSettings) -> list[dict]:
        log = settings.spool / FILE
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    return read


@pytest.fixture
def program():
    """Path of a DCMTK or Orthanc program; the test is skipped if it is not installed."""

    def find(name: str, package: str) -> str:
        path = shutil.which(name) or shutil.which(name, path="/usr/sbin")
        if path is None:
            pytest.skip(f"{name} is not installed: apt-get install {package}")
        return path

    return find
