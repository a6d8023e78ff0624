"""Run a function in a new process, which isolates its memory and failures."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bioatt.core.errors import BioAttError

PRELOADED = "bioatt_training.studies.reproduction.training_run"


class RunError(BioAttError):
    """The error of the child process, in one line."""


def run_in_subprocess(function: Callable[..., Any], *args: Any, log: Path) -> Any:
    """Call function(*args) in a new process whose output is appended to the file `log`; returns its result.

    function, arguments and result must be picklable. On systems with fork, torch is imported only once. Raises RunError
    if the function raises or the process dies; ends the process if this one is interrupted.
    """
    ways = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in ways else "spawn")
    if "forkserver" in ways:
        context.set_forkserver_preload([PRELOADED])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, log, function, args))  # type: ignore[attr-defined]
    process.start()
    sender.close()
    try:
        done, result = receiver.recv()
        process.join()
    except EOFError:
        process.join()
        raise RunError(f"its process ended with status {process.exitcode}") from None
    finally:
        if process.is_alive():
            process.terminate()
            process.join()
        receiver.close()
    if not done:
        raise RunError(result)
    return result


def _child(sender: Connection, log: Path, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with log.open("a", encoding="utf-8", buffering=1) as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        try:
            sender.send((True, function(*args)))
        except Exception as error:
            traceback.print_exc()
            sender.send((False, " ".join(f"{type(error).__name__}: {error}".split())))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()


def _end_with_parent() -> None:
    """End the child with a killed parent: otherwise a second call would train in the same folder."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
