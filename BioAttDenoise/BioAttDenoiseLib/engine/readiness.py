"""Checks before the first denoising that everything is installed, and which devices exist. The engine process does the
check, so Slicer never waits.
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
    """The queue's gate: remembers the findings until `forget()`. resources: the folder with the requirement files.
    onInstall() is called when an installation starts.
    """

    def __init__(self, logic: Any, resources: Path, onInstall: Callable[[], None]) -> None:
        self.logic, self.jobs, self.resources, self.onInstall = logic, logic.jobs, resources, onInstall
        self.devices: list[dict[str, str]] = []
        self.packages: list[dict[str, Any]] = []
        self.optional: list[dict[str, Any]] = []
        """Like `packages`, for optional packages; both are empty before the first check."""
        self.version = ""
        """The engine's version; empty before the first check."""
        self.installing = False
        """Whether packages are being installed. Slicer's installer processes events meanwhile and cannot be stopped."""
        self._checked: set[bool] = set()

    @property
    def devices_text(self) -> str:
        """Display text of the detected devices; empty before the first check."""
        found = "; ".join(device["label"] for device in self.devices)
        return _("Found: {devices}.").format(devices=found) if found else ""

    def forget(self) -> None:
        """Repeat the check next time."""
        self._checked.clear()
        self.devices = []

    def passes(self, job: Job) -> bool:
        """Whether everything for a job's source of anatomy is installed; otherwise checks, and installs it if the job
        asks for that and the user agrees.
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
        elif job is None or job.needs != prior:  # the job is gone, or another source was chosen
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
        elif restarting:  # a process started now would interfere
            self.jobs.drop()
        else:
            self.jobs.restart()  # a new process sees the new packages
            job = self.jobs.waiting
            if job is not None and job.needs is not None:  # the scene may have closed meanwhile
                self._check(job.needs, installed=True)

    def _greet(self) -> None:
        def greeted(reply: dict[str, Any]) -> None:
            self.devices, self.version = reply["devices"], reply["version"]

        self.jobs.ask(Request("hello"), greeted)


def _needs_biomedclip(prior: str) -> bool:
    return prior.startswith(catalogue.BIOMEDCLIP)
