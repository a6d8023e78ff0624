"""The node's queue on disk. A study moves from folder to folder by one rename, so that no crash leaves it in between.

    incoming/STUDY/      its images so far, SERIES-IMAGE-CONTENT.dcm
    ready/JOB/           complete, to be denoised: in/ holds the images, work/ results that are being made
    outgoing/JOB/        denoised, to be sent: out/ holds the results; sent-NAME for each destination that has them
    failed/JOB/          images that could not be denoised; reason.txt says why
    done/                which images of a study were denoised, so that they are not denoised again
    temporary/           whatever is half written; emptied at the start

Names are hashes and numbers, never text from a header. Folders are for their owner only: they hold patient data.
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
    """Opened by one process at a time. Raises InputError if another has it, or it cannot be written.

    free_bytes: what has to stay free on its disk.
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
                f"spool {folder.name} cannot be used ({error.strerror}): give its user a folder on a writable disk"
            ) from None

    def close(self) -> None:
        """Let another node have it."""
        self._held.close()

    def has_room(self, size: int) -> bool:
        """Whether what has to stay free would, after `size` bytes more."""
        return shutil.disk_usage(self.folder).free - size >= self._free_bytes

    @contextmanager
    def temporary(self) -> Iterator[Path]:
        """A name for a new file or folder on the spool's disk; what is still there at the end is removed."""
        path = self.folder / "temporary" / os.urandom(8).hex()
        try:
            yield path
        finally:
            _remove(path)

    def add(self, image: Path, study_uid: str, series_uid: str, image_uid: str, content: str) -> bool:
        """Take a synced temporary file into its study, for good when this returns; False if it was there already.

        content: a hash of it, so that another image of the same UID replaces none.
        Raises OSError if the disk refuses; the image is then not taken.
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
        """Make jobs of the studies that got no image for so long, by a clock that nobody sets."""
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
        """Jobs that are ready, outgoing or failed, the first to arrive first."""
        return jobs_in(self.folder, state)

    def begun(self, job: Path) -> int:
        """How often a job was begun, this time included: a study that ends the process must not do so for ever."""
        with (job / "begun").open("ab") as stream:
            stream.write(b".")
            stream.flush()
            os.fsync(stream.fileno())
            return stream.tell()

    def not_begun(self, job: Path) -> None:
        """Take back what `begun` counted."""
        (job / "begun").unlink(missing_ok=True)

    def leave_out_done(self, job: Path, settings: str) -> int:
        """Remove from a job the series that were denoised before with these settings, in whatever encoding they came.

        Returns how many images are left.
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
        """Let the results be sent that lie in a job's work/, or in its out/ since a process ended right here.

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
        """Keep images of a job for a person to look at, whatever becomes of the job."""
        with self.temporary() as aside:
            (aside / "in").mkdir(mode=0o700, parents=True)
            for image in images:
                os.link(image, aside / "in" / image.name)
            (aside / "reason.txt").write_text(reason + "\n", encoding="utf-8")
            sync_tree(aside)
            self.remove(self.folder / "failed" / job.name)  # of an attempt before
            move(aside, self.folder / "failed" / job.name)

    def sent(self, job: Path, destination: str, all_destinations: list[str]) -> bool:
        """Note that a destination has a job's series. True if it was the last one: the job is then gone."""
        (job / f"sent-{destination}").touch()
        sync(job)
        if not all(is_sent(job, name) for name in all_destinations):
            return False
        self.remove(job)
        return True

    def remove(self, job: Path) -> None:
        """Remove a job: at one moment it is there whole, at the next it is not."""
        with self.temporary() as gone, suppress(FileNotFoundError):
            job.rename(gone)
            sync(job.parent)

    def _recover(self) -> None:
        """Go on where the last process ended."""
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
    """Jobs of a spool that are ready, outgoing or failed, the first to arrive first."""
    return sorted(job for job in (spool / state).iterdir() if _JOB.fullmatch(job.name))


def is_made(job: Path) -> bool:
    """Whether all results of a job are there."""
    return (job / "out").is_dir()


def is_sent(job: Path, destination: str) -> bool:
    """Whether a destination has the series of a job."""
    return (job / f"sent-{destination}").exists()


def hashed(text: str) -> str:
    """First 16 hexadecimal digits of the SHA-256: tells one UID from another, and leads to no patient."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def move(source: Path, target: Path) -> None:
    """Rename, for good when this returns."""
    source.replace(target)
    for folder in {source.parent, target.parent}:
        sync(folder)


def sync(path: Path) -> None:
    """Have a file's content, or a folder's names, on the disk when this returns."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def sync_tree(folder: Path) -> None:
    """`sync` for all that a folder holds."""
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
