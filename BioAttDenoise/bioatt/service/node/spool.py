"""The node's queue on disk. A study moves between folders by a single rename, so a crash never leaves it in between.

    incoming/STUDY/      images received so far, SERIES-IMAGE-CONTENT.dcm
    ready/JOB/           complete, waiting to be denoised: in/ holds the images, work/ results in progress
    outgoing/JOB/        denoised, waiting to be sent: out/ holds the results; sent-NAME marks destinations with them
    failed/JOB/          images that could not be denoised; reason.txt gives the reason
    done/                which images of a study were denoised, so that they are not denoised again
    temporary/           incomplete files; emptied at start

Names are hashes and numbers, never text from a header. Folders are accessible only to their owner: they hold patient
data.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from bioatt.core.errors import InputError
from bioatt.io.locks import BusyError, locked

STATES = ("ready", "outgoing", "failed")
LOCK = "node.lock"
_JOB = re.compile(r"\d{8}-[0-9a-f]{16}")
_FOLDERS = ("incoming", *STATES, "done", "temporary")


class Spool:
    """The queue, opened by one process at a time. Raises InputError if another has it, or it is not writable.

    free_bytes: space to keep free on its disk.
    """

    def __init__(self, folder: Path, free_bytes: int = 0) -> None:
        self.folder = folder
        self._free_bytes = free_bytes
        self._moving = threading.Lock()
        self._arrived: dict[str, float] = {}
        self._held = ExitStack()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._held.enter_context(locked(folder / LOCK, f"spool {folder.name}"))
            for name in _FOLDERS:
                (folder / name).mkdir(mode=0o700, exist_ok=True)
            self._recover()
        except BusyError as busy:
            raise InputError(f"{busy}, probably a node: stop it, or name another spool") from None
        except OSError as error:
            self.close()
            raise InputError(
                f"spool {folder.name} cannot be used ({error.strerror}): name a folder that the node's user can write"
            ) from None

    def close(self) -> None:
        """Release the spool for another node."""
        self._held.close()

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes would leave enough space free."""
        return shutil.disk_usage(self.folder).free - size >= self._free_bytes

    @contextmanager
    def temporary(self) -> Iterator[Path]:
        """Yield a path for a new file or folder on the spool's disk; if it still exists at the end, it is removed."""
        path = self.folder / "temporary" / os.urandom(8).hex()
        try:
            yield path
        finally:
            _remove(path)

    def add(self, image: Path, study_uid: str, series_uid: str, image_uid: str, content: str) -> bool:
        """Move a synced temporary file to its study, durably once this returns; False if it was there already.

        content: hash of the file, so that a different image with the same UID does not replace it.
        Raises OSError on a disk error; the image is then not accepted.
        """
        home = self.folder / "incoming" / hashed(study_uid)
        target = home / f"{hashed(series_uid)}-{hashed(image_uid)}-{content[:16]}.dcm"
        with self._moving:
            if not home.is_dir():
                home.mkdir(mode=0o700)
                sync(home.parent)
            self._arrived[home.name] = time.monotonic()
            new = not target.exists()
            if new:
                image.rename(target)
            opened = os.open(home, os.O_RDONLY)  # the folder may be moved before it is synced
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
        return new

    def collect(self, quiet_s: float) -> list[Path]:
        """Turn studies that received no image for `quiet_s` seconds into jobs, by a monotonic clock."""
        jobs = []
        with self._moving:
            now = time.monotonic()
            for home in sorted((self.folder / "incoming").iterdir()):
                if now - self._arrived.setdefault(home.name, now) < quiet_s:
                    continue
                self._number += 1
                job = self.folder / "ready" / f"{self._number:08d}-{home.name}"
                job.mkdir(mode=0o700)
                home.rename(job / "in")
                for folder in (job, job.parent, home.parent):
                    sync(folder)
                del self._arrived[home.name]
                jobs.append(job)
        return jobs

    def jobs(self, state: str) -> list[Path]:
        """Jobs that are ready, outgoing or failed, in order of arrival."""
        return jobs_in(self.folder, state)

    def begun(self, job: Path) -> int:
        """Count an attempt and return the number so far, so that a study cannot crash the node forever."""
        with (job / "begun").open("ab") as stream:
            stream.write(b".")
            stream.flush()
            os.fsync(stream.fileno())
            return stream.tell()

    def not_begun(self, job: Path) -> None:
        """Undo one count of `begun`."""
        (job / "begun").unlink(missing_ok=True)

    def leave_out_done(self, job: Path, settings: str) -> int:
        """Remove series that were already denoised with these settings from a job, whatever their encoding.

        Returns the number of remaining images.
        """
        done, series = self._done(job, settings), defaultdict(list)
        for image in (job / "in").iterdir():
            series[image.name.partition("-")[0]].append(image)
        for images in list(series.values()):
            if all(_identity(image) in done for image in images):
                for image in images:
                    image.unlink()
        return len(os.listdir(job / "in"))

    def done(self, job: Path, settings: str) -> None:
        """Release the results in a job's work/ for sending, or in its out/ if a process was interrupted right here.

        Images of the job that were set aside do not count as done.
        """
        if not is_made(job):
            sync_tree(job / "work")
            (job / "work").rename(job / "out")
            sync(job)
        with self.temporary() as images:
            new = _images(job / "in") - _images(self.folder / "failed" / job.name / "in")
            images.write_text("\n".join(sorted(new | self._done(job, settings))))
            sync(images)
            move(images, self._done_file(job, settings))
        move(job, self.folder / "outgoing" / job.name)

    def set_aside(self, job: Path, images: Sequence[Path], reason: str) -> None:
        """Keep images of a job for inspection, whatever happens to the job."""
        with self.temporary() as aside:
            (aside / "in").mkdir(mode=0o700, parents=True)
            for image in images:
                os.link(image, aside / "in" / image.name)
            (aside / "reason.txt").write_text(reason + "\n", encoding="utf-8")
            sync_tree(aside)
            self.remove(self.folder / "failed" / job.name)  # from an earlier attempt
            move(aside, self.folder / "failed" / job.name)

    def sent(self, job: Path, destination: str, all_destinations: list[str]) -> bool:
        """Record that a destination has a job's series. True if it was the last one; the job is then removed."""
        (job / f"sent-{destination}").touch()
        sync(job)
        if not all(is_sent(job, name) for name in all_destinations):
            return False
        self.remove(job)
        return True

    def remove(self, job: Path) -> None:
        """Remove a job atomically."""
        with self.temporary() as gone, suppress(FileNotFoundError):
            job.rename(gone)
            sync(job.parent)

    def _recover(self) -> None:
        """Resume where the last process ended."""
        for left in (self.folder / "temporary").iterdir():
            _remove(left)
        self._number = max((int(job.name[:8]) for state in STATES for job in self.jobs(state)), default=0)
        for job in self.jobs("ready"):
            if not (job / "in").is_dir():
                self.remove(job)
            _remove(job / "work")

    def _done_file(self, job: Path, settings: str) -> Path:
        return self.folder / "done" / hashed(f"{job.name[9:]} {settings}")

    def _done(self, job: Path, settings: str) -> set[str]:
        try:
            return set(self._done_file(job, settings).read_text().split())
        except FileNotFoundError:
            return set()


def jobs_in(spool: Path, state: str) -> list[Path]:
    """Jobs of a spool that are ready, outgoing or failed, in order of arrival."""
    return sorted(job for job in (spool / state).iterdir() if _JOB.fullmatch(job.name))


def is_made(job: Path) -> bool:
    """Whether all results of a job exist."""
    return (job / "out").is_dir()


def is_sent(job: Path, destination: str) -> bool:
    """Whether a destination has the series of a job."""
    return (job / f"sent-{destination}").exists()


def hashed(text: str) -> str:
    """First 16 hexadecimal digits of the SHA-256, which distinguish UIDs without revealing the patient."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def move(source: Path, target: Path) -> None:
    """Rename durably."""
    source.replace(target)
    for folder in {source.parent, target.parent}:
        sync(folder)


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's names, to disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def sync_tree(folder: Path) -> None:
    """`sync` a folder and everything in it."""
    for path in (*folder.rglob("*"), folder):
        sync(path)


def _images(folder: Path) -> set[str]:
    return {_identity(file) for file in folder.glob("*.dcm")}


def _identity(file: Path) -> str:
    return file.name.split("-")[1]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
