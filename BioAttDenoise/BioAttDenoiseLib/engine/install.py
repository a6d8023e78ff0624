"""Packages the engine needs in Slicer's Python, and their installation: on request, never at import, never in tests.

The extension PyTorch (PyTorchUtils) installs torch, Slicer's own installer the rest. The engine process detects missing
packages from their metadata. `PyTorchUtils.torchInstalled()` is never called: it imports torch into Slicer and fails on
a half-installed one.
"""

from __future__ import annotations

import contextlib
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from . import bundle
from .catalogue import BIOMEDCLIP
from .errors import EngineError
from .settings import models_folder

BUNDLED = ["torch", "torchvision", "SimpleITK", "numpy", "pydicom"]
"""Never replaced by pip: torch's build matches the graphics card, the others are Slicer's."""


def torch_requirement() -> str:
    """Versions of torch that can be installed here. On Windows, 2.13 has paths that cannot be written."""
    return ">=2.6,<2.13" if platform.system() == "Windows" else ">=2.6"


def requirements(resources: Path, prior: str) -> list[str]:
    """Requirements of a prior's source, torch first; a newer torch installed by another extension is accepted."""
    files = ["requirements.txt"] + (["requirements-biomedclip.txt"] if prior.startswith(BIOMEDCLIP) else [])
    lines = [line for name in files for line in _lines(resources / name)]
    return [f"torch{torch_requirement().split(',')[0]}", *lines]


def optional(resources: Path) -> list[str]:
    """Optional packages for speed."""
    return _lines(resources / "requirements-openvino.txt")


def install(packages: list[dict[str, Any]], python: str) -> bool:
    """Install the packages that `packages` (the engine's reply to `check`) reports as not ok, after asking. Returns
    whether Slicer restarts now.

    Raises EngineError if there is no torch for this Slicer, the user declines, Slicer is in testing mode, or the
    installation fails (with instructions for an offline computer).
    """
    wanted = [package for package in packages if package["state"] != "ok"]
    if not wanted:
        return False
    torch = next((package for package in wanted if package["name"] == "torch"), None)
    if torch is not None and (platform.system(), platform.machine()) == ("Darwin", "x86_64"):
        raise EngineError(
            "install",
            _(
                "Slicer for Mac is built for Intel processors, on other Macs too, and the last torch for them, "
                "2.2, does not work with Slicer's NumPy 2: nothing is installed. Use the command line instead, "
                "with a Python for this Mac: bioatt denoise."
            ),
        )
    names = ", ".join(package["name"] for package in wanted)
    if slicer.app.testingEnabled():
        raise EngineError("install", _("Not installed: {names}. Testing mode installs nothing.").format(names=names))
    if not _agreed(wanted):
        raise EngineError("install", _("Denoising needs {names}. Press Denoise again to install.").format(names=names))
    try:
        if torch is not None:
            _install_torch(torch)
        _install_rest([package for package in wanted if package["name"] != "torch"])
    except EngineError:
        raise
    except Exception as error:  # whatever failed (pip, network, file system), tell the user how to recover
        raise EngineError("install", _failed(error, wanted, python)) from None
    return torch is not None and _restart()


def upgrade(requirements: list[str], python: str) -> bool:
    """Install the newest versions of these requirements, after asking; returns whether the user agreed. torch is kept,
    because its build matches the graphics card. Raises EngineError in testing mode and if the installation fails.
    """
    wanted = [line for line in requirements if not line.startswith("torch")]
    text = _(
        "The newest versions of these packages will be downloaded: {names}.\n\ntorch is kept, because "
        "its build matches this computer; use the module PyTorch Utils to change it.\n\nUpgrade now?"
    ).format(names=", ".join(wanted))
    return _fetch(wanted, "--upgrade", text, _("BioAttDenoise: upgrade packages"), python)


def install_optional(requirements: list[str], python: str) -> bool:
    """Install the packages of `optional`, after asking; returns whether the user agreed. Raises EngineError in testing
    mode and if the installation fails.
    """
    text = _(
        "OpenVINO will be downloaded (30 to 90 MB): {names}. Its telemetry stays off.\n\nInstall it into Slicer now?"
    ).format(names=", ".join(requirements))
    return _fetch(requirements, "--force-reinstall", text, _("BioAttDenoise: install OpenVINO"), python)


def _fetch(requirements: list[str], option: str, question: str, title: str, python: str) -> bool:
    """Ask, and install with a pip option if the user agrees; returns whether the user agreed."""
    if slicer.app.testingEnabled():
        raise EngineError("install", _("Testing mode installs nothing."))
    if not slicer.util.confirmOkCancelDisplay(question, title):
        return False
    try:
        for requirement in requirements:
            _install_with_dependencies(requirement, option)
    except Exception as error:  # whatever failed (pip, network, file system), tell the user how to recover
        packages = [{"requirement": line, "name": line} for line in requirements]
        raise EngineError("install", _failed(error, packages, python)) from None
    return True


def install_folder(folder: Path) -> list[str]:
    """Install packages offline from a folder created by `bundle.py` and copy its models; returns the models' names.
    Raises EngineError if it is not such a folder or pip fails.
    """
    packages = folder / bundle.PACKAGES
    if not packages.is_dir():
        text = _('"{name}" has no subfolder "packages": choose a folder created by bundle.py.')
        raise EngineError("install", text.format(name=folder.name))
    wanted = bundle.requirements(bundle.extras_in(packages))
    try:
        slicer.util.pip_install(["--no-index", "--find-links", str(packages), *wanted])
        return bundle.copy_models(folder / bundle.MODELS, models_folder())
    except Exception as error:  # pip, or the file system
        raise EngineError("install", _("The installation failed: {error}").format(error=error)) from None


def offline(packages: list[dict[str, Any]], python: str) -> str:
    """Instructions for installing on an offline computer, with the exact commands."""
    wanted = " ".join(f'"{_to_install(package)}"' for package in packages)
    version = ".".join(platform.python_version_tuple()[:2])
    return _(
        "Without internet on this computer:\n"
        "1. On a connected computer with the same operating system and Python {version}:\n"
        "   python -m pip download --dest packages {wanted}\n"
        "2. Copy the folder packages to this computer, close Slicer, and run in a terminal (Windows: Command Prompt):\n"
        '   "{python}" -m pip install --no-index --find-links packages {wanted}'
    ).format(version=version, wanted=wanted, python=python)


def _failed(error: Exception, packages: list[dict[str, Any]], python: str) -> str:
    return _("The installation failed: {error}").format(error=error) + "\n\n" + offline(packages, python)


def _agreed(packages: list[dict[str, Any]]) -> bool:
    size = _(" (about 2.5 GB with torch for a graphics card)") if any(p["name"] == "torch" for p in packages) else ""
    text = _(
        "BioAttDenoise needs Python packages that are not installed yet{size}.\n\nInstall them into Slicer now?"
    ).format(size=size)
    details = "\n".join(
        f"{_to_install(p)}: {p['state']}{' (' + p['version'] + ')' if p['version'] else ''}" for p in packages
    )
    return slicer.util.confirmOkCancelDisplay(text, _("BioAttDenoise: install packages"), detailedText=details)


def _to_install(package: dict[str, Any]) -> str:
    return f"torch{torch_requirement()}" if package["name"] == "torch" else package["requirement"]


def _install_torch(package: dict[str, Any]) -> None:
    try:
        import PyTorchUtils
    except ImportError:
        raise EngineError(
            "install",
            _(
                "torch is installed by the extension PyTorch. Install it in the Extensions Manager, restart Slicer, "
                "and press Denoise again."
            ),
        ) from None
    if package["state"] == "broken":  # pip treats a half-installed package as installed and never repairs it
        _remove_leftovers("torch")
        with contextlib.suppress(Exception):  # if nothing is left for pip to remove
            slicer.util.pip_uninstall("torch")
    PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False, torchVersionRequirement=torch_requirement())


def _install_rest(packages: list[dict[str, Any]]) -> None:
    broken = [package for package in packages if package["state"] == "broken"]
    wanted = [package["requirement"] for package in packages if package["state"] != "broken"]
    for package in broken:
        _install_with_dependencies(package["requirement"], "--force-reinstall")
    if not wanted:
        return
    try:
        from slicer import packaging
    except ImportError:  # Slicer 5.10
        for requirement in wanted:
            _install_with_dependencies(requirement)
        return
    packaging.pip_ensure(
        wanted, skip_packages=BUNDLED, prompt_install=False, prompt_restart=False, requester="BioAttDenoise"
    )


def _remove_leftovers(name: str) -> None:
    """Remove package metadata without record or version, which make every pip command fail."""
    from packaging.utils import canonicalize_name

    folders = [folder for entry in sys.path for folder in Path(entry).glob("*.dist-info")]
    for folder in folders:
        if canonicalize_name(folder.name.split("-")[0]) == canonicalize_name(name) and not _pip_can_remove(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _pip_can_remove(folder: Path) -> bool:
    try:
        lines = (folder / "METADATA").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return (folder / "RECORD").is_file() and any(line.startswith("Version:") for line in lines)


def _install_with_dependencies(requirement: str, *options: str) -> None:
    """Install without the bundled packages, which Slicer 5.10 cannot skip: the package without its dependencies, then
    each missing dependency in the same way.
    """
    from packaging.requirements import Requirement

    name = Requirement(requirement).name
    _remove_leftovers(name)
    slicer.util.pip_install(["--no-deps", *options, requirement])
    for line in metadata.requires(name) or []:
        needed = Requirement(line)
        if needed.name in BUNDLED or (needed.marker is not None and not needed.marker.evaluate({"extra": ""})):
            continue
        try:
            version = metadata.version(needed.name)
        except (metadata.PackageNotFoundError, KeyError):  # KeyError: metadata without a version
            version = None
        if version is None or not needed.specifier.contains(version, prereleases=True):
            _install_with_dependencies(f"{needed.name}{needed.specifier}")


def _restart() -> bool:
    """Ask for consent; whether the user agreed."""
    text = _(
        "torch was installed. Restarting Slicer now is recommended, because the installer has loaded parts of it.\n\n"
        "Unsaved changes to the scene will be lost without further warning. To keep them, choose No, save the scene, "
        "and restart Slicer yourself.\n\nRestart Slicer now?"
    )
    agreed = slicer.util.confirmYesNoDisplay(text, _("BioAttDenoise: restart"))
    if agreed:
        slicer.util.restart()
    return agreed


def _lines(path: Path) -> list[str]:
    lines = [line.split(" #")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]
