"""The `bioatt` command. Each subcommand is a module in `bioatt.commands` with `HELP`, `add_arguments` and `run`.

Exit status: 0 success, 1 internal error, 2 invalid arguments or input (one line on stderr), 130 cancelled.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import io
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bioatt.core.errors import BioAttError, Cancelled, InputError

_PATH_ERRORS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP)
"""System errors about names and permissions, which the caller can fix."""
_NO_MEMORY = ("cannot allocate memory", "failed to map segment", "not enough memory", "can't allocate memory")

COMMANDS = (
    "denoise", "batch", "node", "mercure", "inspect", "organs", "prior", "attention", "evaluate", "physics",
    "models", "bench", "demo",
)  # fmt: skip


class _Parser(argparse.ArgumentParser):
    """An argument parser that reports errors in one line."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


class _Version(argparse.Action):
    """Prints the versions; they are looked up only on request because torch takes seconds to load."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from bioatt.commands.models import versions

        print(versions())
        parser.exit()


def _open_streams() -> None:
    """Redirect closed standard streams (`2>&-`) to the null device.

    Otherwise the next file opened would become descriptor 2, and libraries would write their warnings into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free descriptor, i.e. this one
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for the process's life


def build_parser(prog: str, description: str, package: str, commands: Sequence[str]) -> argparse.ArgumentParser:
    """Build a parser with one subcommand per module `package`.`name`; modules import heavy libraries only in `run`.

    A module sets RESUMES if running its command again resumes an interrupted run.
    """
    parser = _Parser(prog=prog, description=description)
    parser.add_argument("--verbose", action="store_true", help="log what the engine does, and show tracebacks")
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="show versions of the program, models and torch, and the devices"
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for name in commands:
        module = importlib.import_module(f"{package}.{name.replace('-', '_')}")
        subparser = subparsers.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run, resumes=getattr(module, "RESUMES", False))
    return parser


def execute(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    """Parse the arguments, run the command and map every outcome to an exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a Windows pipe uses the system code page, which lacks ≤ and Å; file names may not be valid UTF-8
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    args = parser.parse_args(argv)
    if "" in vars(args).values():
        parser.error("an argument is empty: check for an unset variable")
    logging.basicConfig(level=logging.INFO if args.verbose else logging.WARNING, format="%(levelname)s: %(message)s")
    if hasattr(signal, "SIGTERM"):
        signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    try:
        args.run(args)
        sys.stdout.flush()
        return 0
    except (KeyboardInterrupt, Cancelled):
        left = "run the same command to resume" if args.resumes else "no partial output was left"
        print(f"{parser.prog}: cancelled, {left}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except BioAttError as error:
        if args.verbose:
            logging.exception("refused")
        print(f"{parser.prog}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except Exception as error:
        if args.verbose:
            raise
        if isinstance(error, OSError) and error.errno in _PATH_ERRORS:
            what = Path(error.filename).name if isinstance(error.filename, str) else "a file"
            print(f"{parser.prog}: {what}: {error.strerror}: choose another name or folder", file=sys.stderr)
            return 2
        if _out_of_memory(error):
            print(
                f"{parser.prog}: memory ran out: select fewer slices or use a machine with more memory", file=sys.stderr
            )
            return 2
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG):
            what = Path(error.filename).name if isinstance(error.filename, str) else "standard output"
            _discard_stdout()
            print(f"{parser.prog}: {what} could not be written ({error.strerror}): free some space", file=sys.stderr)
            return 2
        line = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"{parser.prog}: internal error, please report it with --verbose: {line}", file=sys.stderr)
        return 1


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _NO_MEMORY)


def _discard_stdout() -> None:
    """Drop buffered output; Python would try to write it again at exit and fail with a traceback."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the `bioatt` command."""
    # must precede the import of torch: spinning threads make it eight times slower next to other programs
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _open_streams()
    parser = build_parser(
        "bioatt", "Anatomy-guided low-dose CT denoising. Research use only.", "bioatt.commands", COMMANDS
    )
    return execute(parser, argv)


if __name__ == "__main__":
    sys.exit(main())
