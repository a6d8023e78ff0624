"""The command `bioatt node` with its engine, between Orthanc and DCMTK programs on the loopback interface."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

SECRETS = ("Secret", "SECRET", "Abdomen")


@pytest.fixture
def command(tmp_path, make_model, free_port, wait_until):
    """`bioatt node run` as a process: command(TOML of the destinations) → (port, settings file)."""
    processes = []

    def start(destinations: str, **options: str) -> tuple[int, Path]:
        make_model()
        port, file = free_port(), tmp_path / "node.toml"
        extra = "".join(f"{key} = {value}\n" for key, value in options.items())
        file.write_text(
            f'spool = "spool"\ndevice = "cpu"\nfree_mb = 0\n{destinations}\n'
            f"[listen]\nport = {port}\nquiet_s = 1\n{extra}\n"
            '[[rule]]\nmatch.series_description = "*scout*"\nskip = true\n'
            f'[[rule]]\nmodel = "{tmp_path / "tiny.safetensors"}"\nstrength = 1\n'
        )
        log = (tmp_path / "log.txt").open("w")
        call = [sys.executable, "-m", "bioatt.cli", "--verbose", "node", "run", str(file)]
        process = subprocess.Popen(call, stdout=log, stderr=subprocess.STDOUT)
        processes.append((process, log))
        wait_until(lambda: "accepts CT images" in (tmp_path / "log.txt").read_text(), 120)
        return port, file

    yield start
    for process, log in processes:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        log.close()
        said = (tmp_path / "log.txt").read_text()
        assert "stopped" in said
        assert not [secret for secret in SECRETS if secret in said], said


def run(*call: object) -> subprocess.CompletedProcess:
    return subprocess.run([str(part) for part in call], capture_output=True, text=True, timeout=120, check=True)


def check_derived(originals: list[Path], derived: list[Path]) -> None:
    """Check that each derived image has its original's position and patient, a new UID, and different pixels."""
    before = {str(one.SOPInstanceUID): one for one in map(dcmread, originals)}
    after = {str(one.SourceImageSequence[0].ReferencedSOPInstanceUID): one for one in map(dcmread, derived)}
    assert before.keys() == after.keys()
    for uid, image in after.items():
        source = before[uid]
        assert image.SOPInstanceUID != uid
        assert image.SeriesInstanceUID != source.SeriesInstanceUID
        for keyword in ("StudyInstanceUID", "PatientName", "PatientID", "ImagePositionPatient", "KVP"):
            assert image[keyword].value == source[keyword].value
        assert not np.array_equal(image.pixel_array, source.pixel_array)


def test_dcmtk_sends_and_receives(command, program, series_writer, tmp_path, free_port, wait_until):
    storescu, storescp, echoscu = (program(name, "dcmtk") for name in ("storescu", "storescp", "echoscu"))
    port, received, source = free_port(), tmp_path / "received", tmp_path / "scan"
    received.mkdir()
    series_writer.write_series(source, series_writer.ct_like(4, 32, 32))
    node, file = command(
        f'[[destination]]\nname = "pacs"\nhost = "127.0.0.1"\nport = {port}\nae_title = "ARCHIVE"',
        calling_ae_titles='["CT1"]',
    )
    archive = subprocess.Popen([storescp, "-aet", "ARCHIVE", "-od", str(received), str(port)])
    try:
        run(echoscu, "-aet", "CT1", "-aec", "BIOATT", "127.0.0.1", node)
        run(storescu, "-aet", "CT1", "-aec", "BIOATT", "127.0.0.1", node, "+sd", source)
        wait_until(lambda: len(list(received.iterdir())) == 4, 120)
    finally:
        archive.terminate()
        archive.wait(10)
    check_derived(sorted(source.iterdir()), sorted(received.iterdir()))
    status = subprocess.run(
        [sys.executable, "-m", "bioatt.cli", "node", "status", str(file), "--json"], capture_output=True, text=True
    )
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["running"]


def test_dcmtk_sends_compressed_images(command, program, series_writer, tmp_path, wait_until):
    storescu, dcmcjpeg = program("storescu", "dcmtk"), program("dcmcjpeg", "dcmtk")
    source, packed = tmp_path / "scan", tmp_path / "packed"
    series_writer.write_series(source, series_writer.ct_like(3, 32, 32))
    packed.mkdir()
    (tmp_path / "out").mkdir()
    for image in source.iterdir():
        run(dcmcjpeg, image, packed / image.name)
    node, _ = command('[[destination]]\nname = "share"\nfolder = "out"')

    run(storescu, "-xs", "-aec", "BIOATT", "127.0.0.1", node, "+sd", packed)
    wait_until(lambda: len(list((tmp_path / "out").glob("2.25.*/*.dcm"))) == 3, 120)

    check_derived(sorted(source.iterdir()), sorted((tmp_path / "out").rglob("*.dcm")))


def test_a_second_node_of_one_spool_is_refused_and_the_first_goes_on(
    command, series_writer, send, tmp_path, wait_until
):
    source = tmp_path / "scan"
    series_writer.write_series(source, series_writer.ct_like(3, 32, 32))
    (tmp_path / "out").mkdir()
    node, file = command('[[destination]]\nname = "share"\nfolder = "out"')
    assert send([dcmread(image) for image in sorted(source.iterdir())], node) == [0, 0, 0]
    again = subprocess.run(
        [sys.executable, "-m", "bioatt.cli", "node", "run", str(file)], capture_output=True, text=True
    )
    assert again.returncode == 2
    assert "by another process, probably a node" in again.stderr
    wait_until(lambda: len(list((tmp_path / "out").glob("2.25.*/*.dcm"))) == 3, 120)


class Orthanc:
    """An Orthanc that knows the node, queried through its REST interface."""

    def __init__(self, program: str, folder: Path, dicom: int, http: int, node: int) -> None:
        folder.mkdir()
        settings = {
            "Name": "test", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
            "DicomAet": "ORTHANC", "DicomPort": dicom, "HttpPort": http, "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False, "Plugins": [], "DicomModalities": {"node": ["BIOATT", "127.0.0.1", node]},
        }  # fmt: skip
        (folder / "orthanc.json").write_text(json.dumps(settings))
        self.http = http
        self.process = subprocess.Popen(
            [program, str(folder / "orthanc.json")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def ask(self, path: str, body: object = None) -> object:
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data=data)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            content = answer.read()
        return content if path.endswith("/file") else json.loads(content)

    def answers(self) -> bool:
        try:
            return bool(self.ask("/system"))
        except (urllib.error.URLError, ConnectionError):
            return False


def test_orthanc_gets_a_derived_series_and_none_more_when_it_sends_the_study_again(
    command, program, series_writer, tmp_path, free_port, wait_until
):
    port, http, source = free_port(), free_port(), tmp_path / "scan"
    series_writer.write_series(source, series_writer.ct_like(4, 32, 32))
    series_writer.write_series(
        tmp_path / "scout", SeriesDescription="Scout", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"]
    )
    node, _ = command(f'[[destination]]\nname = "orthanc"\nhost = "127.0.0.1"\nport = {port}\nae_title = "ORTHANC"')
    orthanc = Orthanc(program("Orthanc", "orthanc"), tmp_path / "orthanc", port, http, node)
    try:
        wait_until(orthanc.answers, 60)
        for image in (*source.iterdir(), *(tmp_path / "scout").iterdir()):
            orthanc.ask("/instances", image.read_bytes())
        assert len(orthanc.ask("/series")) == 2
        studies = orthanc.ask("/studies")

        orthanc.ask("/modalities/node/store", studies)
        wait_until(lambda: len(orthanc.ask("/series")) == 3, 120)
        wait_until(lambda: len(orthanc.ask("/instances")) == 4 + 5 + 4, 60)
        derived = [
            one for one in orthanc.ask("/series?expand") if "BioAtt" in one["MainDicomTags"]["SeriesDescription"]
        ]
        for number, instance in enumerate(derived[0]["Instances"]):
            (tmp_path / f"derived{number}").write_bytes(orthanc.ask(f"/instances/{instance}/file"))
        check_derived(sorted(source.iterdir()), sorted(tmp_path.glob("derived*")))

        orthanc.ask("/modalities/node/store", studies)  # including the derived series, as a routing rule would
        audit = tmp_path / "spool" / "audit.jsonl"
        wait_until(lambda: "own image left out" in audit.read_text(), 120)
        wait_until(lambda: "denoised before" in audit.read_text(), 120)
        time.sleep(2)
        assert len(orthanc.ask("/series")) == 3
    finally:
        orthanc.process.terminate()
        orthanc.process.wait(20)
    assert not [secret for secret in SECRETS if secret in audit.read_text()]
    assert os.stat(tmp_path / "spool").st_mode & 0o077 == 0
