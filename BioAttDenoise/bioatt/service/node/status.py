"""Status of a node, read from its spool by another process."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from bioatt.core.errors import InputError
from bioatt.io.locks import BusyError, locked
from bioatt.service.node.audit import FILE
from bioatt.service.node.settings import NodeSettings
from bioatt.service.node.spool import LOCK, STATES, is_sent, jobs_in

_TAIL = 1 << 18
"""Bytes at the end of the log to search for the last attempt to send."""


def node_status(settings: NodeSettings) -> dict[str, Any]:
    """Whether the node runs, the number of studies in each state, pending series by destination, and failures.

    Raises InputError if the spool does not exist or cannot be read.
    """
    spool = settings.spool
    try:
        incoming = [len(os.listdir(study)) for study in (spool / "incoming").iterdir()]
        jobs = {state: jobs_in(spool, state) for state in STATES}
        return {
            "running": _is_running(spool),
            "incoming": {"studies": len(incoming), "images": sum(incoming)},
            **{state: len(found) for state, found in jobs.items()},
            "destinations": {
                one.name: {
                    "waiting": sum(not is_sent(job, one.name) for job in jobs["outgoing"]),
                    "last": _last_attempt(spool / FILE, one.name),
                }
                for one in settings.destinations
            },
            "failures": {job.name: (job / "reason.txt").read_text(encoding="utf-8").strip() for job in jobs["failed"]},
            "free_mb": shutil.disk_usage(spool).free >> 20,
        }
    except OSError as error:
        raise InputError(
            f"spool {spool.name} cannot be read ({error.strerror}): start the node first, and run this as its user"
        ) from None


def status_lines(status: dict[str, Any]) -> list[str]:
    """Format the status as text lines."""
    lines = [
        "running" if status["running"] else "not running",
        f"arriving: {status['incoming']['images']} images of {status['incoming']['studies']} studies",
        f"to denoise: {status['ready']}   to send: {status['outgoing']}   failed: {status['failed']}",
        *(f"to {name}: {one['waiting']} waiting, {one['last']}" for name, one in status["destinations"].items()),
        *(f"failed {job}: {reason}" for job, reason in status["failures"].items()),
        f"free: {status['free_mb']} MB",
    ]
    return lines


def _is_running(spool: Path) -> bool:
    try:
        with locked(spool / LOCK, "spool"):
            return False
    except BusyError:
        return True


def _last_attempt(log: Path, destination: str) -> str:
    """The last log entry for a destination."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _TAIL))
            lines = stream.read().splitlines()
    except FileNotFoundError:
        return "nothing sent yet"
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except ValueError:  # the first line of the tail is incomplete
            continue
        if entry.get("destination") == destination:
            reason = f" ({entry['reason']})" if "reason" in entry else ""
            return f"{entry['event']}{reason} at {entry['time']}"
    return "nothing sent yet"
