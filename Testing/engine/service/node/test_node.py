"""The path of a study through a node, between peers on the loopback interface."""

from __future__ import annotations

import threading
import time

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid
from pynetdicom import AE

from bioatt.service.node.node import DeviceLostError, Failure, Node
from bioatt.service.node.settings import Destination
from bioatt.service.node.status import node_status


def test_a_study_comes_back_as_a_derived_series(ct, settings, run_node, send, archive, wait_until):
    archive.start()
    given = settings((Destination("pacs", host="127.0.0.1", port=archive.port, ae_title="ARCHIVE"),))
    run_node(given)
    images = ct(4)

    assert send(images, given.listen.port) == [0] * 4
    wait_until(lambda: len(archive.images) == 4)

    sources = {image.SourceImageSequence[0].ReferencedSOPInstanceUID for image in archive.images}
    assert sources == {image.SOPInstanceUID for image in images}
    wait_until(lambda: node_status(given)["outgoing"] == 0)


def test_a_study_waits_until_no_image_came_for_the_quiet_time(ct, settings, run_node, send, tmp_path, wait_until):
    given = settings(quiet_s=1.0)
    study, jobs = generate_uid(), []
    run_node(given, lambda images, out: jobs.append(len(list(images.iterdir()))) or [])

    for image in ct(4, study):
        send([image], given.listen.port)
        time.sleep(0.4)
    wait_until(lambda: jobs)

    assert jobs == [4]


def test_setting_the_clock_completes_no_study(ct, settings, run_node, send, monkeypatch):
    given = settings(quiet_s=3.0)
    run_node(given)
    send(ct(1), given.listen.port)

    monkeypatch.setattr(time, "time", lambda: 4e9)
    time.sleep(0.5)

    assert node_status(given)["incoming"]["images"] == 1


def test_derived_images_that_come_back_are_left_out(ct, settings, run_node, send, tmp_path, wait_until, derived):
    given = settings()
    run_node(given)
    send(ct(2), given.listen.port)
    wait_until(lambda: len(derived(tmp_path / "out")) == 2)

    assert send(list(derived(tmp_path / "out").values()), given.listen.port) == [0, 0]

    assert node_status(given)["incoming"]["images"] == 0


def test_a_study_that_an_archive_sends_back_is_not_denoised_again(
    ct, settings, run_node, send, tmp_path, wait_until, derived, audit_of
):
    given = settings()
    run_node(given)
    images = ct(3)
    send(images, given.listen.port)
    wait_until(lambda: len(derived(tmp_path / "out")) == 3)

    for image in images:  # an archive may change headers and send a study in parts
        image.add_new(0x00090010, "LO", "ARCHIVE")
    send(images[:2], given.listen.port)
    wait_until(lambda: any(entry["event"].startswith("denoised before") for entry in audit_of(given)))

    assert len(list((tmp_path / "out").iterdir())) == 1


def test_a_destination_that_is_down_gets_it_later_and_holds_up_no_other(
    ct, settings, run_node, send, archive, tmp_path, wait_until, derived
):
    out = tmp_path / "out"
    given = settings(
        (Destination("pacs", host="127.0.0.1", port=archive.port, ae_title="ARCHIVE"), Destination("disk", out))
    )
    run_node(given)
    send(ct(2), given.listen.port)
    wait_until(lambda: len(derived(out)) == 2)
    assert node_status(given)["destinations"]["pacs"]["waiting"] == 1
    wait_until(lambda: "no connection" in node_status(given)["destinations"]["pacs"]["last"])

    archive.start()
    wait_until(lambda: len(archive.images) == 2)

    wait_until(lambda: node_status(given)["outgoing"] == 0)
    assert len(list(out.iterdir())) == 1


def test_what_a_destination_refuses_is_offered_again(ct, settings, run_node, send, archive, wait_until):
    archive.status = 0xA700
    archive.start()
    given = settings((Destination("pacs", host="127.0.0.1", port=archive.port, ae_title="ARCHIVE"),))
    run_node(given)
    send(ct(1), given.listen.port)
    wait_until(lambda: "0xA700" in node_status(given)["destinations"]["pacs"]["last"])

    archive.status = 0x0000

    wait_until(lambda: len(archive.images) == 1)


def test_a_study_that_fails_is_put_aside_and_the_next_goes_on(ct, settings, run_node, send, tmp_path, wait_until):
    given, tried = settings(), []

    def denoise(images, out):
        files = sorted(images.iterdir())
        if dcmread(files[0]).SeriesDescription == "bad":
            tried.append(1)
            return [Failure(files, "no CT of this world")]
        (out / "dicom").mkdir()
        dcmread(files[0]).save_as(out / "dicom" / "1.dcm")
        return []

    run_node(given, denoise)
    send(ct(2, SeriesDescription="bad"), given.listen.port)
    wait_until(lambda: node_status(given)["ready"] == 1 or tried)
    send(ct(1), given.listen.port)
    wait_until(lambda: list((tmp_path / "out").iterdir()))
    wait_until(lambda: node_status(given)["failed"] == 1)

    assert len(tried) == 3
    assert list(node_status(given)["failures"].values()) == ["no CT of this world"]
    (aside,) = (given.spool / "failed").iterdir()
    assert len(list((aside / "in").iterdir())) == 2


def test_an_exception_of_the_engine_ends_no_node(ct, settings, run_node, send, wait_until):
    given = settings()
    run_node(given, lambda images, out: 1 / 0)

    send(ct(1), given.listen.port)
    wait_until(lambda: node_status(given)["failed"] == 1)

    assert "ZeroDivisionError" in next(iter(node_status(given)["failures"].values()))


def test_a_lost_device_ends_the_node_and_blames_no_study(ct, settings, run_node, send, tmp_path, wait_until, derived):
    given, stopped = settings(), threading.Event()

    def lose(images, out):
        raise DeviceLostError("gone")

    node = Node(given, lose)
    send(ct(2), given.listen.port)
    with pytest.raises(DeviceLostError):
        node.run(stopped)
    assert node_status(given)["ready"] == 1
    assert not node_status(given)["running"]

    run_node(given)

    wait_until(lambda: len(derived(tmp_path / "out")) == 2)


def test_the_log_holds_no_patient_data(ct, settings, run_node, send, tmp_path, wait_until, audit_of):
    given = settings()
    run_node(given)
    images = ct(2)
    send(images, given.listen.port)
    wait_until(lambda: any(entry["event"] == "sent" for entry in audit_of(given)))

    text = (given.spool / "audit.jsonl").read_text()

    assert {"received", "complete", "denoised", "sent"} <= {entry["event"] for entry in audit_of(given)}
    for secret in ("Secret", "SECRET", "Chest", images[0].StudyInstanceUID, images[0].SOPInstanceUID):
        assert secret not in text


def test_echo_is_answered(settings, run_node):
    given = settings()
    run_node(given)
    entity = AE("CT1")
    entity.add_requested_context("1.2.840.10008.1.1")

    association = entity.associate("127.0.0.1", given.listen.port, ae_title="BIOATT")

    assert association.send_c_echo().Status == 0
    association.release()


def test_status_tells_a_stopped_node_from_a_running_one(settings, run_node):
    given = settings()
    run_node(given)
    assert node_status(given)["running"]

    run_node.stop()

    assert not node_status(given)["running"]


def test_no_thread_is_left_when_a_node_stops(settings, run_node):
    run_node(settings())
    run_node.stop()

    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("sender", "receiver"))]
