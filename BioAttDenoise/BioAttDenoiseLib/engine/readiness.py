"""Before the first denoising: is everything installed, and which devices are there. Asks the engine's process, so
Slicer never waits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from . import catalogue, install
from .jobs import EngineError


@dataclass(frozen=True)
class Waiter:
    """Who wants to go on when everything for a prior's source is there. One of the callbacks is called, once."""

    prior: str
    onReady: Callable[[], None]
    onError: Callable[[Exception], None]
    onCancelled: Callable[[], None]
    install: bool


class Readiness:
    """Remembers what was found until `forget()`. resources: the folder with the requirement files. onChanged is called
    when an installation begins, and whenever nothing is awaited any more.
    """

    def __init__(self, logic: Any, resources: Path, onChanged: Callable[[], None]) -> None:
        self.logic, self.resources, self.onChanged = logic, resources, onChanged
        self.devices: list[dict[str, str]] = []
        self.packages: list[dict[str, Any]] = []
        self.checking = False
        """Whether an answer of the engine is awaited."""
        self.installing = False
        """Whether packages are being installed. Slicer's installer handles events meanwhile and cannot be stopped."""
        self._checked: set[bool] = set()
        self._waiting: Waiter | None = None

    def forget(self) -> None:
        """Look again next time."""
        self._checked.clear()
        self.devices = []

    def ensure(
        self,
        prior: str,
        onReady: Callable[[], None],
        onError: Callable[[Exception], None],
        install: bool,
        onCancelled: Callable[[], None] = lambda: None,
    ) -> None:
        """Call onReady when everything for a prior's source is there. Missing packages are installed after asking, or
        with install=False are an error. While packages are being installed, onError is called at once.

        One waits at a time: who waited before gets onCancelled.
        """
        if self.installing:
            onError(EngineError("input", _("Packages are being installed. Wait until that has ended.")))
            return
        self._serve(Waiter(prior, onReady, onError, onCancelled, install))

    def warm(self, fields: dict[str, Any]) -> None:
        """Have the model of these options in memory before it is needed. What fails here is told when it is needed."""
        if not self.checking and not self.logic.engine.busy:
            self._ask("load", fields, lambda reply: self._continue())

    def drop(self) -> None:
        """Who waits is told that it was cancelled; an answer that is on its way is still taken in."""
        waiter = self._release()
        if waiter is not None:
            waiter.onCancelled()

    def _serve(self, waiter: Waiter) -> None:
        if not self.checking and self._needs(waiter.prior) in self._checked and self.devices:
            waiter.onReady()
            return
        replaced, self._waiting = self._waiting, waiter
        if replaced is not None:
            replaced.onCancelled()
        if not self.checking:
            self._check()

    def _continue(self) -> None:
        """Somebody may have begun to wait while the model was loaded."""
        waiter = self._release()
        if waiter is not None:
            self._serve(waiter)

    def _release(self) -> Waiter | None:
        waiter, self._waiting = self._waiting, None
        return waiter

    @staticmethod
    def _needs(prior: str) -> bool:
        return prior.startswith(catalogue.BIOMEDCLIP)

    def _check(self, installed: bool = False) -> None:
        prior = self._waiting.prior
        wanted = install.requirements(self.resources, prior)
        self._ask("check", {"requirements": wanted}, lambda reply: self._found(prior, reply["packages"], installed))

    def _found(self, prior: str, packages: list[dict[str, Any]], installed: bool) -> None:
        self.packages = packages
        missing = [package["name"] for package in packages if package["state"] != "ok"]
        if self._waiting is not None and self._waiting.prior != prior:  # another source was asked for meanwhile
            self._check()
        elif not missing:
            self._checked.add(self._needs(prior))
            self._ask("hello", {}, self._greeted)
        elif self._waiting is None or installed or not self._waiting.install:
            self._fail(EngineError("install", f"Not installed: {', '.join(missing)}."))
        else:
            self._install(packages)

    def _install(self, packages: list[dict[str, Any]]) -> None:
        self.installing, failure, restarting = True, None, False
        self.onChanged()
        try:
            restarting = install.install(packages, self.logic.python)
        except EngineError as error:
            failure = error
        finally:
            self.installing = False
        if failure is not None:
            self._fail(failure)
        elif restarting:  # a process that is started now would only be in its way
            self.drop()
        else:
            self.logic.shutdown()  # a fresh process sees the new packages
            if self._waiting is not None:  # the scene may have been closed meanwhile
                self._check(installed=True)

    def _greeted(self, reply: dict[str, Any]) -> None:
        self.devices = reply["devices"]
        waiter = self._release()
        if waiter is not None:
            waiter.onReady()

    def _fail(self, error: Exception) -> None:
        waiter = self._release()
        if waiter is not None:
            waiter.onError(error)

    def _ask(self, kind: str, fields: dict[str, Any], answered: Callable[[dict[str, Any]], None]) -> None:
        """Send a request; `checking` is false again when its answer is taken in."""

        def settle(taken: Callable[..., None], *arguments: Any) -> None:
            self.checking = False
            taken(*arguments)
            if not self.checking:
                self.onChanged()

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
