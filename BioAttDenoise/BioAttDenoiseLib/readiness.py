"""Before the first denoising: is everything installed, and which devices are there. Asks the engine's process, so Slicer never waits."""

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
        self._checked: set[bool] = set()
        self._waiting: tuple[str, Callable[[], None], Callable[[Exception], None], bool] | None = None

    @property
    def checking(self) -> bool:
        """Whether an answer is awaited."""
        return self._waiting is not None

    def forget(self) -> None:
        """Look again next time."""
        self._checked.clear()
        self.devices = []

    def ensure(self, prior: str, onReady: Callable[[], None], onError: Callable[[Exception], None], install: bool) -> None:
        """Call onReady when everything for a prior's source is there. Missing packages are installed after asking, or with install=False are an error.

        Called again while an answer is awaited, the new callbacks take the place of the old ones.
        """
        busy = self.checking
        if not busy and self._needs(prior) in self._checked and self.devices:
            onReady()
            return
        self._waiting = prior, onReady, onError, install
        if not busy:
            self._check()

    def drop(self) -> None:
        """Nobody waits any more."""
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
        if self._waiting is None:
            return
        if self._waiting[0] != prior:  # another source was asked for meanwhile
            self._check()
            return
        missing = [package["name"] for package in packages if package["state"] != "ok"]
        if not missing:
            self._checked.add(self._needs(prior))
            self._ask("hello", {}, self._greeted)
        elif installed or not self._waiting[3]:
            self._fail(EngineError("install", f"Not installed: {', '.join(missing)}."))
        else:
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
        try:
            self.logic.request(kind, fields, on_result=answered, on_error=self._fail, on_cancelled=self.drop)
        except EngineError as error:
            self._fail(error)
