"""Faults and load of a node in a separate process, with a stand-in for the engine; prints JSON.

python campaign.py kills --count 200 --seed 0     kill -9 at random moments while studies arrive and leave
python campaign.py studies --count 1000           tiny studies in a row: memory, and whether all were delivered
python campaign.py load --count 300               slices of 512 x 512 per second, compared to DCMTK's storescp
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE

STAND_IN = Path(__file__).with_name("stand_in.py")


def image(study: str, series: str, size: int = 16) -> Dataset:
    """A CT image of a series."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID, data.Modality = study, series, "CT"
    data.Rows = data.Columns = size
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.PixelData = np.random.default_rng().integers(-1000, 1000, (size, size), np.int16).tobytes()
    data["PixelData"].VR = "OW"
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return data


class Process:
    """A node process with the stand-in engine that sends into a folder."""

    def __init__(self, folder: Path, quiet_s: float) -> None:
        self.folder, self.out = folder, folder / "out"
        self.out.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (folder / "node.toml").write_text(
            f'spool = "spool"\nfree_mb = 0\n[listen]\nport = {self.port}\nquiet_s = {quiet_s}\n'
            '[[destination]]\nname = "share"\nfolder = "out"\n'
        )

    def start(self, deadly: str = "") -> None:
        """deadly: Study Instance UID that ends the process, as a study that takes too much memory does."""
        call = [sys.executable, str(STAND_IN), str(self.folder / "node.toml"), deadly]
        self.process = subprocess.Popen(call, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def memory_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def idle(self) -> bool:
        return not any(
            any((self.folder / "spool" / state).iterdir()) for state in ("incoming", "ready", "outgoing", "temporary")
        )


def send(port: int, images: list[Dataset]) -> list[Dataset]:
    """Send images; returns those that were acknowledged."""
    entity = AE("CT1")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = 10
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association, taken = entity.associate("127.0.0.1", port, ae_title="BIOATT"), []
    if association.is_established:
        with contextlib.suppress(RuntimeError):
            for one in images:
                if association.send_c_store(one).get("Status") == 0:
                    taken.append(one)
        association.release()
    return taken


def kills(folder: Path, count: int, seed: int, images: int = 5) -> dict[str, Any]:
    """Kill the node at random moments: no acknowledged image may be lost, and nothing may be half-written."""
    chance, node, acknowledged = random.Random(seed), Process(folder, quiet_s=0.2), []
    ended = threading.Event()

    def scanner() -> None:
        """Send study after study, repeating what was not acknowledged, as a scanner does."""
        while not ended.is_set():
            study, series = generate_uid(), generate_uid()
            left = [image(study, series) for _ in range(images)]
            while left:
                taken = send(node.port, left)
                acknowledged.extend(str(one.SOPInstanceUID) for one in taken)
                left = left[len(taken) :]
                time.sleep(0.02)

    thread = threading.Thread(target=scanner)
    states: Counter[str] = Counter()
    node.start()
    thread.start()
    for _ in range(count):
        time.sleep(chance.uniform(0.02, 1.2))
        node.kill()
        for state in ("incoming", "ready", "outgoing", "temporary"):
            states[state] += any((folder / "spool" / state).iterdir())
        node.start()
    ended.set()
    thread.join()
    until = time.monotonic() + 300
    while not node.idle() and time.monotonic() < until:
        time.sleep(0.1)
    node.kill()
    derived = [dcmread(file) for series in node.out.glob("[!.]*") for file in series.iterdir()]
    sources = Counter(str(one.SourceImageSequence[0].ReferencedSOPInstanceUID) for one in derived)
    aside = list((folder / "spool" / "failed").glob("*/in/*.dcm"))
    kept = sources.keys() | {str(dcmread(file).SOPInstanceUID) for file in aside}
    return {
        "kills": count,
        "kills while something was in": dict(states),
        "images acknowledged": len(set(acknowledged)),
        "of them lost": len(set(acknowledged) - kept),
        "derived images": len(derived),
        "half-written": sum(len(one.PixelData) != one.Rows * one.Columns * 2 for one in derived),
        "derived twice": sum(number > 1 for number in sources.values()),
        "put aside": len(aside),
        "left in temporary": len(list((folder / "spool" / "temporary").iterdir())),
    }


def studies(folder: Path, count: int) -> dict[str, Any]:
    """Send one-image studies in a row and measure memory."""
    node, memory = Process(folder, quiet_s=0.5), []
    node.start()
    for _ in range(10):
        sent = [image(generate_uid(), generate_uid()) for _ in range(count // 10)]
        assert len(send(node.port, sent)) == len(sent)
        until = time.monotonic() + 300
        while not node.idle() and time.monotonic() < until:
            time.sleep(0.1)
        memory.append(round(node.memory_mb, 1))
    node.kill()
    return {"studies": count, "derived": len(list(node.out.glob("[!.]*/*.dcm"))), "memory after each tenth, MB": memory}


def load(folder: Path, count: int) -> dict[str, Any]:
    """Measure storescu's slices per second: to the node, which syncs each, and to storescp, which syncs none."""
    scans = folder / "scan"
    scans.mkdir(parents=True)
    study, series = generate_uid(), generate_uid()
    for number in range(count):
        image(study, series, 512).save_as(scans / f"{number}.dcm", enforce_file_format=True)
    node, rates = Process(folder, quiet_s=3600), {}
    node.start()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "received").mkdir()
    environment = {**os.environ, "TCP_NODELAY": "1"}  # for DCMTK: otherwise the kernel delays each image by 40 ms
    call = ["storescp", "-aet", "BIOATT", "-od", str(folder / "received"), str(port)]
    storescp = subprocess.Popen(call, env=environment)
    time.sleep(1)
    for name, to in (("node", node.port), ("storescp", port)) * 2:
        started = time.monotonic()
        call = ["storescu", "-aec", "BIOATT", "127.0.0.1", str(to), "+sd", str(scans)]
        subprocess.run(call, check=True, env=environment)
        rates.setdefault(name, []).append(round(count / (time.monotonic() - started), 1))
        for state in (folder / "received", folder / "spool" / "incoming"):
            for file in state.rglob("*"):
                if file.is_file():
                    file.unlink()
    storescp.terminate()
    node.kill()
    return {"slices": count, "slices a second": rates}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("kills", "studies", "load"))
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        more = {"seed": args.seed} if args.what == "kills" else {}
        print(json.dumps(globals()[args.what](folder, args.count, **more), indent=1))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
