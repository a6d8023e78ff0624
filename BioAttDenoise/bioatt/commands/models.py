"""`bioatt models`: what is here, what it is, and what can be had or removed."""

from __future__ import annotations

import argparse
import json

HELP = "list the models, show one, download or remove BiomedCLIP"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bioatt models`."""
    parser.add_argument("action", nargs="?", default="list", choices=("list", "info", "download", "remove"))
    parser.add_argument("name", nargs="?", help="a model's name, or biomedclip")
    parser.add_argument("--yes", action="store_true", help="agree to the download without being asked")


def run(args: argparse.Namespace) -> None:
    """List, describe, download or remove."""
    from bioatt.errors import InputError

    if args.action == "list":
        return _list()
    if args.name is None:
        raise InputError(f"bioatt models {args.action} needs a name: `bioatt models list` shows them")
    {"info": _info, "download": _download, "remove": _remove}[args.action](args)
    return None


def _list() -> None:
    from bioatt.models import catalogue, default_model

    for entry in catalogue():
        mark = "*" if entry.name == default_model("cpu") else " "
        print(f"{mark} {entry.name:16} {'here' if entry.present else 'missing':9} {entry.summary}")
    print("* default on a CPU")


def _info(args: argparse.Namespace) -> None:
    from bioatt.models import load_model

    model = load_model(args.name)
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    print(
        json.dumps({"name": model.name, "sha256": model.sha256, "parameters": parameters, **model.metadata}, indent=2)
    )


def _download(args: argparse.Namespace) -> None:
    raise NotImplementedError


def _remove(args: argparse.Namespace) -> None:
    raise NotImplementedError
