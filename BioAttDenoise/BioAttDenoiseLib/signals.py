"""Qt signals, connected so that a misspelt one is noticed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def connect(sender: Any, signal: str, slot: Callable[..., Any]) -> None:
    """Connect a signal, such as "clicked(bool)". Raises AttributeError where there is none: PythonQt's `connect` only
    answers False.
    """
    if sender.connect(signal, slot) is False:
        raise AttributeError(f"{type(sender).__name__} has no signal {signal}")
