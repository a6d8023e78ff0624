"""`bioatt node`: a DICOM node that denoises what it receives and sends the derived series on."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "DICOM node: receive CT studies, denoise them by rules, send the derived series on (see Docs/node.md)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bioatt node`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    run = actions.add_parser("run", help="run the node until it is told to stop")
    status = actions.add_parser("status", help="what the node is doing; exit status 1 where it does not run")
    status.add_argument("--json", action="store_true", help="as JSON")
    for action in (run, status):
        action.add_argument("settings", metavar="FILE.toml", help="settings and rules of the node")


def run(args: argparse.Namespace) -> None:
    """Run the action."""
    from bioatt.service.settings import read_settings

    settings = read_settings(Path(args.settings))
    if args.action == "status":
        _status(settings, args.json)
    else:
        _run(settings)
