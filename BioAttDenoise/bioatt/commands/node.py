"""`bioatt node`: a DICOM node that denoises received studies and forwards the derived series."""

from __future__ import annotations

import argparse
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bioatt.commands.console import print_json

if TYPE_CHECKING:
    from bioatt.service.node.settings import NodeSettings

HELP = "run a DICOM node: receive CT studies, denoise them by rules, forward the derived series (see Docs/node.md)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `bioatt node`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    run = actions.add_parser("run", help="run the node until SIGINT or SIGTERM")
    status = actions.add_parser("status", help="show what the node is doing; exit status 1 if it is not running")
    status.add_argument("--json", action="store_true", help="print JSON")
    for action in (run, status):
        action.add_argument("settings", metavar="FILE.toml", help="settings and rules of the node")


def run(args: argparse.Namespace) -> None:
    """Run the chosen action."""
    from bioatt.core.errors import InputError
    from bioatt.service.node.settings import read_settings

    settings = read_settings(Path(args.settings))
    if args.action == "status":
        _status(settings, args.json)
        return
    if os.name == "nt":
        raise InputError("the node needs Linux or macOS, since Windows cannot sync a folder: run it in a container")
    try:
        import pynetdicom  # noqa: F401
    except ModuleNotFoundError:
        raise InputError("the node needs pynetdicom: pip install 'bioatt[node]'") from None
    _serve(settings)


def _status(settings: NodeSettings, as_json: bool) -> None:
    from bioatt.core.errors import BioAttError
    from bioatt.service.node.status import node_status, status_lines

    status = node_status(settings)
    if as_json:
        print_json(status)
    else:
        print("\n".join(status_lines(status)))
    if not status["running"]:
        raise BioAttError("the node is not running: start it with bioatt node run")


def _serve(settings: NodeSettings) -> None:
    import threading

    from bioatt.compute.device import tune_cpu
    from bioatt.service.node.denoising import denoise_by
    from bioatt.service.node.node import Node

    tune_cpu()
    denoise = denoise_by(settings.rules, settings.folder, settings.device)
    node = Node(settings, denoise)
    listen = settings.listen
    print(f"{listen.ae_title} accepts CT images at {listen.address} port {listen.port}. Research use only.", flush=True)
    with suppress(KeyboardInterrupt):  # SIGINT or SIGTERM stops the service
        node.run(threading.Event())
    print("stopped: received images stay in the spool; the next run resumes with them")
