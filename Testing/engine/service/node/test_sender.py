"""Sending to one destination: what is tried again, when, and what waits for it."""

from __future__ import annotations

import time

import pytest
from pynetdicom import evt

from bioatt.service.node import sender
from bioatt.service.node.audit import Audit
from bioatt.service.node.sender import LONGEST_PAUSE_S, Sender, _Pauses
from bioatt.service.node.settings import Destination


@pytest.fixture
def put(spool, ct):
    """put(number) puts a derived series of one image into outgoing/; returns the job and the image."""

    def make(number: int):
        (image,) = ct(1)
        job = spool.folder / "outgoing" / f"{number:08d}-{number:016x}"
        (job / "out" / "dicom").mkdir(parents=True)
        image.save_as(job / "out" / "dicom" / "0000.dcm", enforce_file_format=True)
        return job, image

    return make


@pytest.fixture
def start(spool, archive, settings, audit_of):
    """Send to the archive, with a first pause that no test waits for; returns a function that reads the log."""
    to = Destination("pacs", host="127.0.0.1", port=archive.port, ae_title="ARCHIVE")
    one = Sender(spool, to, ["pacs"], "BIOATT", Audit(spool.folder), pause_s=LONGEST_PAUSE_S)

    def begin():
        one.start()
        return lambda: audit_of(settings())

    yield begin
    one.stop()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("damaged", "InvalidDicomError"), ("refused", "0xA700"), ("aborted", "the association broke off")],
)
def test_a_series_that_is_not_accepted_delays_no_other(put, start, archive, wait_until, fault, reason):
    bad, image = put(1)
    if fault == "damaged":
        (bad / "out" / "dicom" / "0000.dcm").write_bytes(b"damaged")
    store = archive._store

    def choosy(event: evt.Event) -> int:
        if event.dataset.SOPInstanceUID != image.SOPInstanceUID:
            return store(event)
        if fault == "aborted":
            event.assoc.abort()
        return 0xA700

    archive._store = choosy
    archive.start()
    entries = start()
    wait_until(entries)
    assert entries()[0]["reason"].startswith(f"{bad.name}: ")
    assert reason in entries()[0]["reason"]

    job, later = put(2)

    wait_until(lambda: not job.exists())
    assert [one.SOPInstanceUID for one in archive.images] == [later.SOPInstanceUID]
    assert bad.is_dir()


def test_a_destination_that_does_not_answer_is_not_asked_for_each_series(put, start, wait_until):
    put(1)
    entries = start()
    wait_until(entries)

    put(2)

    time.sleep(1.5)  # three rounds
    assert [entry["reason"] for entry in entries()] == ["no connection"]


def test_pauses_double_up_to_the_longest_and_begin_anew_after_success(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(sender.time, "monotonic", lambda: now[0])
    pauses, lasted = _Pauses(1.0), []
    assert pauses.over("a")
    for _ in range(11):
        pauses.begin("a")
        assert pauses.over("b")
        began = now[0]
        while not pauses.over("a"):
            now[0] += 0.5
        lasted.append(now[0] - began)

    assert lasted == [1, 2, 4, 8, 16, 32, 64, 128, 256, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    pauses.end("a")
    pauses.begin("a")
    now[0] += 1
    assert pauses.over("a")
