"""`bioatt models`: list and describe models; download, import, export and remove BiomedCLIP."""

from __future__ import annotations

import argparse
from pathlib import Path

from bioatt.commands.console import print_json

HELP = "list and describe the models; download, import, export or remove BiomedCLIP"
BIOMEDCLIP = "biomedclip"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `bioatt models`."""
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="list the installed models (default action)")
    info = actions.add_parser("info", help="describe a model: network, training, metrics, hash")
    info.add_argument("name", help="model name or .safetensors file")
    download = actions.add_parser("download", help="download BiomedCLIP from the Hugging Face hub")
    download.add_argument("--yes", action="store_true", help="download without asking")
    fetch = actions.add_parser("import", help="install BiomedCLIP from a copied folder")
    export = actions.add_parser(
        "export", help="write BiomedCLIP's image tower and text embeddings, for use on other machines"
    )
    remove = actions.add_parser("remove", help="delete BiomedCLIP from this machine")
    for action in (download, fetch, export, remove):
        action.add_argument("name", choices=(BIOMEDCLIP,))
    for action in (fetch, export):
        action.add_argument("folder", metavar="DIR")


def run(args: argparse.Namespace) -> None:
    """Run the chosen action."""
    {None: _list, "list": _list, "info": _info}.get(args.action, _biomedclip)(args)


def _list(args: argparse.Namespace) -> None:
    from bioatt.inference.assembly import known_choice
    from bioatt.inference.models import catalogue, default_model, load_model
    from bioatt.priors.biomedclip.files import default_folder

    if args.json:
        print_json(
            [
                {
                    "name": entry.name,
                    "installed": entry.path is not None,
                    "default": entry.name == default_model("cpu"),
                    "sha256": entry.sha256,
                    "summary": entry.summary,
                }
                for entry in catalogue()
            ]
        )
        return
    for entry in catalogue():
        state = "installed" if entry.path else "missing"
        default = ", the default on a CPU" if entry.name == default_model("cpu") else ""
        print(f"{entry.name:14} {state:14} {entry.summary}{default}")
        if entry.path:
            way = known_choice(load_model(entry.name))
            print(f"{'':14} {'':14} on this CPU: {way or 'the fastest backend, chosen at the first run'}")
    state = "installed" if default_folder().is_dir() else "not installed"
    print(
        f"{BIOMEDCLIP:14} {state:14} the source of anatomical priors in the paper (bioatt models download biomedclip)"
    )


def versions() -> str:
    """List the program, Python, torch with its devices and backends, and the models with their hashes, line by line."""
    import platform

    import torch

    import bioatt
    from bioatt.compute.backends import versions as backend_versions
    from bioatt.compute.device import available
    from bioatt.inference.models import catalogue

    libraries = [name for name in ("mkldnn", "mkl", "openmp") if getattr(torch.backends, name).is_available()]
    devices = ", ".join(device["name"] for device in available())
    lines = [
        f"bioatt {bioatt.__version__} (Python {platform.python_version()})",
        f"torch {torch.__version__}, devices: {devices}, libraries: {', '.join(libraries)}",
        "backends: " + ", ".join(f"{name} {version}" for name, version in backend_versions().items()),
    ]
    for entry in catalogue():
        lines.append(f"model {entry.name} {entry.sha256[:12]}{'' if entry.path else ' (missing)'}")
    return "\n".join(lines)


def _info(args: argparse.Namespace) -> None:
    import json

    from bioatt.inference.models import load_model

    model = load_model(args.name)
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    described = {"name": model.name, "sha256": model.sha256, "parameters": parameters, **model.metadata}
    print(json.dumps(described, indent=1))


def _biomedclip(args: argparse.Namespace) -> None:
    from bioatt.anatomy.descriptors import descriptor_set_names, load_descriptor_set
    from bioatt.priors.biomedclip import install as biomedclip_install
    from bioatt.priors.biomedclip.files import find_files

    if args.action == "download":
        consent = args.yes or _confirmed(f"Download BiomedCLIP ({biomedclip_install.SIZE_MB} MB)?")
        print(biomedclip_install.download(consent))
    elif args.action == "import":
        print(biomedclip_install.import_folder(Path(args.folder)))
    elif args.action == "export":
        sets = [load_descriptor_set(name) for name in descriptor_set_names()]
        print(biomedclip_install.export_image_tower(find_files(), Path(args.folder), sets))
    else:
        print("removed" if biomedclip_install.remove() else "nothing to remove")


def _confirmed(question: str) -> bool:
    """The user's answer; False if stdin is not a terminal."""
    import sys

    return sys.stdin.isatty() and input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
