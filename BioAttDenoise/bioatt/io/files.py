"""Atomic writing of files and folders, and checks of output paths before the work."""

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
    """The file's suffix in lower case, with `.nii.gz` as one suffix."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def is_series(output: Path) -> bool:
    """Whether an output without suffix names a folder for a DICOM series rather than a file.

    Text after a dot that begins with a digit is not a suffix but part of the name, as in a UID or `CT_1.5mm`.
    """
    return output.is_dir() or not output.suffix[1:2].isalpha()


class OccupiedError(InputError):
    """Another program created the output during the computation. The result is kept next to it."""

    def __init__(self, output: Path, kept: Path) -> None:
        super().__init__(f"another run created {output.name} meanwhile: this run's result is kept as {kept.name}")


@contextmanager
def atomic_write(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path next to `path`, with its suffix; renamed to `path` if the block succeeds, else removed.

    The name is unique: several processes can write the same `path`, and the last one wins.
    overwrite: whether a file at `path` may be replaced. Raises InputError with the system's reason for every OSError;
    OccupiedError if a file appeared at `path` and may not be replaced: the complete temporary file is then kept.
    """
    partial: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=partial_prefix(os.getpid()), suffix=suffix_of(path), dir=path.parent)
        os.close(handle)
        partial = Path(name)
        yield partial
        partial.chmod(0o666 & ~umask())  # mkstemp restricts the file to its owner
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
    """Yield a temporary folder next to `folder`; renamed to `folder` if the block succeeds, else removed.

    An existing empty folder keeps its permissions and may be a link or a mount point: the temporary folder is then
    created inside it, and its files are moved up at the end.
    Raises OccupiedError if another run has filled the folder meanwhile; the complete temporary folder is then kept.
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
    """Move all files of a folder into another, or none."""
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
    """Rename a file without replacing another. Raises FileExistsError if the target exists."""
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
    """Prefix of a process's temporary files and folders."""
    return f".bioatt-{process}-"


def remove_partials(folder: Path, process: int) -> None:
    """Remove the temporary files that a killed process left in a folder."""
    for path in folder.glob(f"{partial_prefix(process)}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def not_written(path: Path, error: OSError) -> InputError:
    """The error to raise if the system refused to write `path`."""
    if error.errno in _FULL:
        fix = "free some space and try again"
    elif error.errno in _DENIED:
        fix = "choose another folder, or close the file in other programs"
    elif error.errno == errno.ENAMETOOLONG:
        fix = "give it a shorter name"
    else:
        fix = "choose another folder"
    reason = error.strerror or type(error).__name__
    return InputError(f"{path.name} could not be written ({reason}): {fix}")


def check_name(path: Path) -> None:
    """Raise InputError for a name that is not UTF-8, as on some old discs; ITK would abort the program."""
    try:
        os.fspath(path).encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"the path of {path.name!a} is not UTF-8: rename it") from None


def check_folder(folder: Path) -> None:
    """Raise InputError if no file can be created in a folder."""
    if not folder.is_dir():
        raise InputError(f"folder {folder.absolute().name} does not exist: create it first")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(
            f"folder {folder.absolute().name} is not writable ({error.strerror}): choose another"
        ) from None


def make_folder(folder: Path) -> None:
    """Create a folder and its parents if missing. Raises InputError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        in_the_way = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
        raise InputError(f"{in_the_way.name} is a file: name a folder") from None
    except OSError as error:
        raise InputError(f"folder {folder.name} cannot be created ({error.strerror}): name another") from None


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file (UTF-8). Raises InputError, which calls it `what`, if it cannot be opened or is not JSON."""
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{what} {path.name} is not a regular file: name one")
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise InputError(f"{what} {path.name} cannot be opened: check the path") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what} {path.name} is not JSON ({error}): correct the file") from None


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths refer to one file, also through links or different spellings; neither needs to exist."""
    try:
        return one.samefile(other)
    except OSError:
        return one.resolve() == other.resolve()


def occupied(path: Path) -> bool:
    """Whether writing to a path would overwrite something; an empty folder does not count."""
    return any(path.iterdir()) if path.is_dir() else os.path.lexists(path)


def umask() -> int:
    """The permission bits that files created by this process do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def files_named(option: str) -> list[Path]:
    """The existing files that an option names, either alone or as `KIND:FILE,FILE`."""
    parts = dict.fromkeys((option, *re.split("[:,]", option)))
    return [path for path in map(Path, parts) if path.is_file()]
