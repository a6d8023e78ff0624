"""Before the first denoising: is everything installed, and which devices are there. Asks the engine's process, so
Slicer never waits.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import install
from .engine import EngineError


class Readiness:
    """Remembers what was found until `forget()`. resources: the folder with the requirement files."""

    def __init__(self, logic: Any, resources: Path) -> None:
        self.logic, self.resources = logic, resources
        self.devices: list[dict[str, str]] = []
        self.packages: list[dict[str, Any]] = []
        self.checking = False
        """Whether an answer of the engine is awaited."""
        self._checked: set[bool] = set()
        self._waiting: tuple[str, Callable[[], None], Callable[[Exception], None], bool] | None = None

    def forget(self) -> None:
        """Look again next time."""
        self._checked.clear()
        self.devices = []

    def ensure(
        self, prior: str, onReady: Callable[[], None], onError: Callable[[Exception], None], install: bool
    ) -> None:
        """Call onReady when everything for a prior's source is there. Missing packages are installed after asking, or
        with install=False are an error.

        Called again while an answer is awaited, the new callbacks take the place of the old ones.
        """
        if not self.checking and self._needs(prior) in self._checked and self.devices:
            onReady()
            return
        self._waiting = prior, onReady, onError, install
        if not self.checking:
            self._check()

    def warm(self, fields: dict[str, Any]) -> None:
        """Have the model of these options in memory before it is needed. What fails here is told when it is needed."""
        if not self.checking and not self.logic.engine.busy:
            self._ask("load", fields, lambda reply: self._continue())

    def _continue(self) -> None:
        """Somebody may have begun to wait while the model was loaded."""
        if self._waiting is not None:
            self.ensure(*self._waiting)

    def drop(self) -> None:
        """Nobody waits any more; an answer that is on its way is still taken in."""
        self._waiting = None

    @staticmethod
    def _needs(prior: str) -> bool:
        return prior.startswith(install.BIOMEDCLIP)

    def _check(self, installed: bool = False) -> None:
        prior = self._waiting[0]
        wanted = install.requirements(self.resources, prior)
        self._ask("check", {"requirements": wanted}, lambda reply: self._found(prior, reply["packages"], installed))

    def _found(self, prior: str, packages: list[dict[str, Any]], installed: bool) -> None:
        self.packages = packages
        missing = [package["name"] for package in packages if package["state"] != "ok"]
        if self._waiting is not None and self._waiting[0] != prior:  # another source was asked for meanwhile
            self._check()
        elif not missing:
            self._checked.add(self._needs(prior))
            self._ask("hello", {}, self._greeted)
        elif self._waiting is None or installed or not self._waiting[3]:
            self._fail(EngineError("install", f"Not installed: {', '.join(missing)}."))
        else:
            self._install(packages)

    def _install(self, packages: list[dict[str, Any]]) -> None:
        try:
            install.install(packages, self.logic.python)
        except EngineError as error:
            self._fail(error)
            return
        self.logic.shutdown()  # a fresh process sees the new packages
        self._check(installed=True)

    def _greeted(self, reply: dict[str, Any]) -> None:
        self.devices = reply["devices"]
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting[1]()

    def _fail(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting[2](error)

    def _ask(self, kind: str, fields: dict[str, Any], answered: Callable[[dict[str, Any]], None]) -> None:
        """Send a request; `checking` is false again when its answer is taken in."""

        def settle(taken: Callable[..., None], *arguments: Any) -> None:
            self.checking = False
            taken(*arguments)

        self.checking = True
        try:
            self.logic.request(
                kind,
                fields,
                on_result=lambda reply: settle(answered, reply),
                on_error=lambda error: settle(self._continue) if kind == "load" else settle(self._fail, error),
                on_cancelled=lambda: settle(self.drop),
            )
        except EngineError as error:
            settle(self._fail, error)
