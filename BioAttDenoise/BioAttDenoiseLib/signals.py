"""Connect Qt signals so that a misspelt name raises an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def connect(sender: Any, signal: str, slot: Callable[..., Any]) -> None:
    """Connect a signal, such as "clicked(bool)". Raises AttributeError if it does not exist: PythonQt's `connect` only
    returns False.
    """
    if sender.connect(signal, slot) is False:
        raise AttributeError(f"{type(sender).__name__} has no signal {signal}")
