"""Before the first denoising: is everything installed, and which devices are there. Asks the engine's process, so
Slicer never waits.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from . import catalogue, install, requests
from .errors import EngineError
from .job import Job, Request


class Readiness:
    """The queue's gate: remembers what was found until `forget()`. resources: the folder with the requirement files.
    onInstall() is called when an installation begins.
    """

    def __init__(self, logic: Any, resources: Path, onInstall: Callable[[], None]) -> None:
        self.logic, self.jobs, self.resources, self.onInstall = logic, logic.jobs, resources, onInstall
        self.devices: list[dict[str, str]] = []
        self.packages: list[dict[str, Any]] = []
        self.optional: list[dict[str, Any]] = []
        """Like `packages`, of what nothing needs; both empty before the engine was asked."""
        self.version = ""
        """The engine's; empty before it was asked."""
        self.installing = False
        """Whether packages are being installed. Slicer's installer handles events meanwhile and cannot be stopped."""
        self._checked: set[bool] = set()

    @property
    def devices_text(self) -> str:
        """The devices that were found, for people; empty before."""
        found = "; ".join(device["label"] for device in self.devices)
        return _("Found: {devices}.").format(devices=found) if found else ""

    def forget(self) -> None:
        """Look again next time."""
        self._checked.clear()
        self.devices = []

    def passes(self, job: Job) -> bool:
        """Whether everything for the source of anatomy that a job needs is there; else finds out, and installs it where
        the job asks for that and the user agrees.
        """
        if job.needs is None:
            return True
        if self.installing:
            return False
        if _needs_biomedclip(job.needs) not in self._checked:
            self._check(job.needs)
        elif not self.devices:
            self._greet()
        else:
            return True
        return False

    def _check(self, prior: str, installed: bool = False) -> None:
        wanted, optional = install.requirements(self.resources, prior), install.optional(self.resources)

        def found(reply: dict[str, Any]) -> None:
            packages = reply["packages"]
            self.packages, self.optional = packages[: len(wanted)], packages[len(wanted) :]
            self._found(prior, self.packages, installed)

        self.jobs.ask(requests.check([*wanted, *optional]), found)

    def _found(self, prior: str, packages: list[dict[str, Any]], installed: bool) -> None:
        missing = [package["name"] for package in packages if package["state"] != "ok"]
        job = self.jobs.waiting
        if not missing:
            self._checked.add(_needs_biomedclip(prior))
            if not self.devices:
                self._greet()
        elif job is None or job.needs != prior:  # nobody asks any more, or for another source
            return
        elif installed or not job.install:
            self.jobs.fail(EngineError("install", _("Not installed: {names}.").format(names=", ".join(missing))))
        else:
            self._install(packages)

    def _install(self, packages: list[dict[str, Any]]) -> None:
        self.installing, failure, restarting = True, None, False
        self.onInstall()
        try:
            restarting = install.install(packages, self.logic.python)
        except EngineError as error:
            failure = error
        finally:
            self.installing = False
        if failure is not None:
            self.jobs.fail(failure)
        elif restarting:  # a process that is started now would only be in its way
            self.jobs.drop()
        else:
            self.jobs.restart()  # a fresh process sees the new packages
            job = self.jobs.waiting
            if job is not None and job.needs is not None:  # the scene may have been closed meanwhile
                self._check(job.needs, installed=True)

    def _greet(self) -> None:
        def greeted(reply: dict[str, Any]) -> None:
            self.devices, self.version = reply["devices"], reply["version"]

        self.jobs.ask(Request("hello"), greeted)


def _needs_biomedclip(prior: str) -> bool:
    return prior.startswith(catalogue.BIOMEDCLIP)
