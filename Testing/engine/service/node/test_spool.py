"""The queue on disk: what a restart finds after the process has ended at any moment."""

from __future__ import annotations

import os

import pytest

from bioatt.core.errors import InputError
from bioatt.service.node.spool import Spool, hashed, is_made, sync

STUDY = "1.2.3"


def put(spool: Spool, number: int, content: str = "c", series: str = "1.2.3.4") -> None:
    with spool.temporary() as file:
        file.write_text(f"image {number} {content}")
        sync(file)
        spool.add(file, STUDY, series, f"1.2.3.{number}", hashed(content + str(number)) * 2)


def job_of(spool: Spool, images: int = 2):
    for number in range(images):
        put(spool, number)
    (job,) = spool.collect(0)
    return job


def again(spool: Spool) -> Spool:
    """The spool as the next process opens it."""
    spool.close()
    return Spool(spool.folder)


def make_results(job) -> None:
    (job / "work" / "dicom").mkdir(parents=True)
    (job / "work" / "dicom" / "1.dcm").write_text("derived")


def test_only_one_process_has_it(spool):
    with pytest.raises(InputError, match="by another process, probably a node"):
        Spool(spool.folder)


def test_a_job_survives_in_every_state(spool, tmp_path):
    job = job_of(spool)
    spool = again(spool)
    assert [one.name for one in spool.jobs("ready")] == [job.name]
    make_results(job)
    spool.done(job, "settings")
    spool = again(spool)
    (outgoing,) = spool.jobs("outgoing")
    assert (outgoing / "out" / "dicom" / "1.dcm").read_text() == "derived"
    assert not spool.sent(outgoing, "a", ["a", "b"])
    spool = again(spool)
    assert spool.sent(outgoing, "b", ["a", "b"])
    assert not spool.jobs("outgoing")
    spool.close()


def test_half_made_results_are_made_again(spool):
    job = job_of(spool)
    make_results(job)

    spool = again(spool)

    assert not (job / "work").exists()
    assert len(list((job / "in").iterdir())) == 2
    spool.close()


def test_an_end_between_results_and_their_move_loses_neither(spool):
    job = job_of(spool)
    make_results(job)
    (job / "work").rename(job / "out")

    spool = again(spool)

    assert is_made(job)
    spool.done(job, "settings")
    assert len(spool.jobs("outgoing")) == 1
    spool.close()


def test_an_end_before_a_study_is_moved_into_its_job_keeps_it_incoming(spool):
    put(spool, 1)
    (spool.folder / "ready" / f"00000001-{hashed(STUDY)}").mkdir()

    spool = again(spool)

    assert not spool.jobs("ready")
    assert len(spool.collect(0)) == 1
    spool.close()


def test_temporary_files_of_an_ended_process_are_gone(spool):
    (spool.folder / "temporary" / "half").write_text("Secret^Name")
    (spool.folder / "temporary" / "folder").mkdir()

    again(spool).close()

    assert not list((spool.folder / "temporary").iterdir())


def test_images_that_come_late_make_another_job(spool):
    first = job_of(spool)
    put(spool, 7)
    (second,) = spool.collect(0)

    assert first != second
    assert len(list((first / "in").iterdir())) == 2
    assert len(list((second / "in").iterdir())) == 1


def test_a_part_of_what_was_denoised_is_left_out_and_more_than_that_is_not(spool):
    job = job_of(spool, 3)
    make_results(job)
    spool.done(job, "settings")
    put(spool, 1, content="changed by an archive")
    (part,) = spool.collect(0)
    assert spool.leave_out_done(part, "other settings") == 1
    assert spool.leave_out_done(part, "settings") == 0
    for number in (1, 2, 9):
        put(spool, number)
    put(spool, 0, series="of another series")
    (more,) = spool.collect(0)
    assert spool.leave_out_done(more, "settings") == 3  # a series with a new image is kept whole


def test_what_was_set_aside_does_not_count_as_denoised(spool):
    put(spool, 1)
    put(spool, 2, series="1.2.3.5")
    (job,) = spool.collect(0)
    make_results(job)
    spool.set_aside(job, [next((job / "in").glob(f"{hashed('1.2.3.5')}*"))], "bad")
    spool.done(job, "settings")
    put(spool, 1)
    put(spool, 2, series="1.2.3.5")
    (again,) = spool.collect(0)
    assert spool.leave_out_done(again, "settings") == 1


def test_what_is_not_ours_in_its_folders_stops_nothing(spool):
    (spool.folder / "ready" / "lost+found").mkdir()

    spool = again(spool)

    assert not spool.jobs("ready")
    spool.close()


def test_a_folder_of_somebody_else_is_refused_in_one_line(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)

    with pytest.raises(InputError, match=r"spool \w+ cannot be used \(Permission denied\)"):
        Spool(tmp_path / "spool")


def test_a_disk_that_cannot_sync_acknowledges_nothing(spool, monkeypatch):
    def refuse(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)

    with pytest.raises(OSError, match="Input/output"):
        put(spool, 1)
