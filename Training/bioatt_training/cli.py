"""The command `bioatt-train`: simulate low dose, prepare data, train, evaluate."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bioatt.cli import build_parser, execute

COMMANDS = (
    "simulate",
    "prepare",
    "fit",
    "adopt",
    "evaluate",
    "reproduce",
    "organ-maps",
    "network",
    "benchmark",
    "physics",
    "examine",
    "learning",
    "adapt",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command `bioatt-train`."""
    parser = build_parser(
        "bioatt-train",
        "Low-dose simulation and training of BioAtt. Research use only.",
        "bioatt_training.commands",
        COMMANDS,
    )
    return execute(parser, argv)


if __name__ == "__main__":
    sys.exit(main())
