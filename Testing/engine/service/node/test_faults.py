"""What Docs/reliability.md promises for a node that is killed, has a full or read-only disk, or gets many studies.

The engine is a stand-in (`stand_in.py`), since these tests are about the queue.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread

from bioatt.core.errors import InputError
from bioatt.service.node.node import Node
from bioatt.service.node.spool import Spool
from bioatt.service.node.status import node_status

sys.path.insert(0, str(Path(__file__).parent))
import campaign

sys.path.pop(0)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc and mounts")


@pytest.fixture
def small_disk(tmp_path):
    """A separate disk for the spool: mount(options)."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options: str) -> Path:
        done = shutil.which("mount") and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True
        )
        if not done or done.returncode:
            pytest.skip("mounting a small disk takes root on Linux")
        return place

    yield mount
    if os.path.ismount(place):
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_nothing_acknowledged_is_lost_or_halved_over_kills(tmp_path):
    found = campaign.kills(tmp_path, count=4, seed=1)

    assert found["images acknowledged"] > 0
    assert {name: found[name] for name in ("of them lost", "half-written", "left in temporary")} == {
        "of them lost": 0,
        "half-written": 0,
        "left in temporary": 0,
    }


def test_many_studies_come_out_and_memory_stays_flat(tmp_path):
    found = campaign.studies(tmp_path, count=30)

    assert found["derived"] == 30
    memory = found["memory after each tenth, MB"]
    assert memory[-1] < memory[2] + 5


def test_a_disk_that_fills_up_refuses_what_it_cannot_keep_and_keeps_the_rest(
    ct, settings, run_node, send, small_disk, tmp_path, wait_until, derived
):
    disk = small_disk("size=2m")
    given = replace(settings(quiet_s=3600), spool=disk / "spool")
    run_node(given)
    images = ct(12, size=320)

    statuses = send(images, given.listen.port)

    assert set(statuses) == {0, 0xA700}
    taken = [image for image, status in zip(images, statuses, strict=True) if status == 0]
    kept = {dcmread(file).SOPInstanceUID: dcmread(file) for file in (given.spool / "incoming").rglob("*.dcm")}
    assert kept.keys() == {image.SOPInstanceUID for image in taken}
    assert all(kept[image.SOPInstanceUID].PixelData == image.PixelData for image in taken)

    run_node.stop()
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    run_node(replace(given, listen=replace(given.listen, quiet_s=0.3)))
    wait_until(lambda: len(derived(tmp_path / "out")) == len(taken))


def test_a_study_waits_for_room_for_its_results(
    ct, settings, run_node, send, small_disk, tmp_path, wait_until, audit_of
):
    disk = small_disk("size=2m")
    given = replace(settings(), spool=disk / "spool")
    run_node(given)

    send(ct(6, size=320), given.listen.port)  # 1.2 of 2 MB: the results would not fit in the rest
    wait_until(lambda: any(entry.get("reason") == "no room for results" for entry in audit_of(given)))
    assert node_status(given)["ready"] == 1

    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    wait_until(lambda: len(list((tmp_path / "out").rglob("*.dcm"))) == 6)
    assert node_status(given)["failed"] == 0


def test_a_disk_that_becomes_read_only_acknowledges_nothing(ct, settings, run_node, send, monkeypatch):
    given = settings(quiet_s=3600)
    run_node(given)
    images, open_file = ct(2), os.open
    assert send(images[:1], given.listen.port) == [0]

    def refuse(path, flags, *more, **options):
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return open_file(path, flags, *more, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert send(images[1:], given.listen.port) == [0xA700]

    assert send(images[1:], given.listen.port) == [0]
    assert node_status(given)["incoming"]["images"] == 2


def test_sending_goes_on_once_the_spool_can_be_read_again(ct, settings, run_node, send, tmp_path, wait_until, audit_of):
    given = settings()
    outgoing, away = given.spool / "outgoing", tmp_path / "away"
    run_node(given)

    outgoing.rename(away)
    wait_until(lambda: any(entry["event"] == "not sent" for entry in audit_of(given)))
    away.rename(outgoing)

    send(ct(1), given.listen.port)
    wait_until(lambda: len(list((tmp_path / "out").rglob("*.dcm"))) == 1)


def test_a_node_on_a_read_only_disk_does_not_start(settings, small_disk):
    disk = small_disk("size=1m")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)

    with pytest.raises(InputError, match=r"spool spool cannot be used \(Read-only file system\)"):
        Node(replace(settings(), spool=disk / "spool"), lambda images, out: [])


def test_a_link_in_the_place_of_a_job_leads_nowhere(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    Spool(tmp_path / "spool").close()
    (tmp_path / "spool" / "temporary" / "link").symlink_to(outside)
    (tmp_path / "spool" / "ready" / "00000001-0123456789abcdef").symlink_to(outside)

    Spool(tmp_path / "spool").close()

    assert (outside / "precious").read_text() == "x"


def test_a_study_over_which_the_process_ends_each_time_is_put_aside(tmp_path, wait_until):
    node = campaign.Process(tmp_path, quiet_s=0.2)
    node.start(deadly="1.2.3")
    campaign.send(node.port, [campaign.image("1.2.3", "1.2.3.4")])
    for _ in range(3):
        assert node.process.wait(60) == 137
        node.start(deadly="1.2.3")

    campaign.send(node.port, [campaign.image("1.2.4", "1.2.4.5")])
    wait_until(node.idle, 60)

    node.kill()
    assert len(list(node.out.glob("[!.]*"))) == 1
    (reason,) = (tmp_path / "spool" / "failed").glob("*/reason.txt")
    assert "the node crashed at each attempt" in reason.read_text()
