"""Files that appear whole or not at all, and places that are looked at before the work."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bioatt.core.errors import InputError

_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


def suffix_of(path: Path) -> str:
    """The file's ending in lower case, `.nii.gz` as one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def is_series(output: Path) -> bool:
    """True if an output without suffix names a folder for a DICOM series, False if it names a file.

    What follows a dot and begins with a digit is no suffix but part of a name: a UID, or `CT_1.5mm`.
    """
    return output.is_dir() or not output.suffix[1:2].isalpha()


class OccupiedError(InputError):
    """The output was created by another program while this one computed. What was computed is kept beside it."""

    def __init__(self, output: Path, kept: Path) -> None:
        super().__init__(f"{output.name} was made by another run meanwhile: this run's result is kept as {kept.name}")


@contextmanager
def atomic_write(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix, renamed onto it when the block succeeds, else removed.

    The name is unique: several processes can write the same `path`, and the last one's file stays.
    overwrite: whether a file at `path` may be replaced. Raises InputError with the system's reason for every OSError;
    OccupiedError if a file appeared at `path` and may not be replaced: the temporary file, complete, then stays.
    """
    partial: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=partial_prefix(os.getpid()), suffix=suffix_of(path), dir=path.parent)
        os.close(handle)
        partial = Path(name)
        yield partial
        partial.chmod(0o666 & ~umask())  # mkstemp's file is for its owner only
        partial.replace(path) if overwrite else move_new(partial, path)
    except FileExistsError:
        assert partial is not None
        kept, partial = partial, None
        raise OccupiedError(path, kept) from None
    except OSError as error:
        raise not_written(path, error) from None
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A folder beside the wanted one, which takes its name when all went well and disappears otherwise.

    A folder that is there, empty, keeps its rights and may be a link or a place where another disk is mounted: the
    partial one is in it, and what it holds moves out of it at the end.
    Raises OccupiedError if another run has filled the folder meanwhile; the partial one, complete, then stays.
    """
    folder = folder.absolute()
    there = folder.is_dir()
    partial = Path(tempfile.mkdtemp(prefix=partial_prefix(os.getpid()), dir=folder if there else folder.parent))
    try:
        yield partial
        if there:
            _move_all(partial, folder)
        else:
            partial.chmod(0o777 & ~umask())
            partial.rename(folder)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            raise OccupiedError(folder, partial) from None
        shutil.rmtree(partial, ignore_errors=True)
        raise not_written(folder, error) from None
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if there:
        partial.rmdir()


def _move_all(source: Path, target: Path) -> None:
    """Move the files of a folder into another, all or none."""
    moved = []
    try:
        for file in sorted(source.iterdir()):
            move_new(file, target / file.name)
            moved.append(target / file.name)
    except OSError:
        for file in moved:
            file.rename(source / file.name)
        raise


def move_new(source: Path, target: Path) -> None:
    """Rename a file, but never onto another one. Raises FileExistsError if something is there."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        source.rename(target)
    else:
        source.unlink()


def partial_prefix(process: int) -> str:
    """How the names of what a process has not written whole yet begin."""
    return f".bioatt-{process}-"


def remove_partials(folder: Path, process: int) -> None:
    """Remove what a process that was ended by force left half written in a folder."""
    for path in folder.glob(f"{partial_prefix(process)}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def not_written(path: Path, error: OSError) -> InputError:
    """What to say where the system refused to write `path`."""
    if error.errno in _FULL:
        mend = "free some space and try again"
    elif error.errno in _DENIED:
        mend = "choose another folder, or close the file where it is open"
    elif error.errno == errno.ENAMETOOLONG:
        mend = "give it a shorter name"
    else:
        mend = "choose another place"
    reason = error.strerror or type(error).__name__
    return InputError(f"{path.name} could not be written whole ({reason}): {mend}")


def check_name(path: Path) -> None:
    """Raise InputError for a name that is not UTF-8, as some have on old discs: ITK ends the program over it."""
    try:
        os.fspath(path).encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{path.name!a} is or lies in a name that is not UTF-8: rename it") from None


def check_folder(folder: Path) -> None:
    """Raise InputError if no file can be made in a folder."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder.absolute().name}: make it first")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(
            f"folder {folder.absolute().name} cannot be written ({error.strerror}): choose another"
        ) from None


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where it is missing. Raises InputError if it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        in_the_way = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
        raise InputError(f"{in_the_way.name} is a file: name a folder") from None
    except OSError as error:
        raise InputError(f"folder {folder.name} cannot be made ({error.strerror}): name another") from None


def read_json(path: Path, what: str) -> Any:
    """What a JSON file (UTF-8) holds. Raises InputError if it cannot be opened or is not JSON; `what` names it."""
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{what} {path.name} is no ordinary file: name one")
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise InputError(f"{what} {path.name} cannot be opened: check the path") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what} {path.name} is not JSON ({error}): correct the file") from None


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths name one file, by links or another spelling too; neither has to exist."""
    try:
        return one.samefile(other)
    except OSError:
        return one.resolve() == other.resolve()


def occupied(path: Path) -> bool:
    """Whether something would be overwritten at a path; an empty folder is nothing."""
    return any(path.iterdir()) if path.is_dir() else os.path.lexists(path)


def umask() -> int:
    """The bits that files made by this process do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def files_named(option: str) -> list[Path]:
    """The files that an option names, alone or as `KIND:FILE,FILE`."""
    parts = dict.fromkeys((option, *re.split("[:,]", option)))
    return [path for path in map(Path, parts) if path.is_file()]
