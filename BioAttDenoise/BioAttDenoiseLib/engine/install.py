"""What the engine needs in Slicer's Python, and how it gets there: asked for once, never at import, never in tests.

torch is installed by the extension PyTorch (PyTorchUtils), the rest by Slicer's own installer. Whether something is
missing is found out in the engine's process, by metadata. `PyTorchUtils.torchInstalled()` is never called: it imports
torch into Slicer and fails on a half-installed one.
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
"""Never replaced by pip: torch's build fits the graphics card, the others are Slicer's."""


def torch_requirement() -> str:
    """Versions of torch that can be installed here. Windows: 2.13 has paths that Windows cannot write."""
    return ">=2.6,<2.13" if platform.system() == "Windows" else ">=2.6"


def requirements(resources: Path, prior: str) -> list[str]:
    """Requirements for a prior's source: torch first, of which a newer one that another extension brought is good
    too.
    """
    files = ["requirements.txt"] + (["requirements-biomedclip.txt"] if prior.startswith(BIOMEDCLIP) else [])
    lines = [line for name in files for line in _lines(resources / name)]
    return [f"torch{torch_requirement().split(',')[0]}", *lines]


def optional(resources: Path) -> list[str]:
    """What the user may install for speed."""
    return _lines(resources / "requirements-openvino.txt")


def install(packages: list[dict[str, Any]], python: str) -> bool:
    """Install what `packages` (the engine's answer to `check`) says is not ok, after asking. Returns whether Slicer
    restarts now.

    Raises EngineError where there is no torch for this Slicer, where the user declines, in testing mode, or when the
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
                "Slicer for Mac is a program for Intel processors, on other Macs too, and the last torch for those, "
                "2.2, cannot work with Slicer's NumPy 2: nothing is installed. Denoise with the command line instead, "
                "in a Python for this Mac: bioatt denoise."
            ),
        )
    names = ", ".join(package["name"] for package in wanted)
    if slicer.app.testingEnabled():
        raise EngineError(
            "install", _("Not installed: {names}. In testing mode nothing is installed.").format(names=names)
        )
    if not _agreed(wanted):
        raise EngineError("install", _("Denoising needs {names}. Press Denoise again to install.").format(names=names))
    try:
        if torch is not None:
            _install_torch(torch)
        _install_rest([package for package in wanted if package["name"] != "torch"])
    except EngineError:
        raise
    except Exception as error:  # pip, network, file system: whatever it was, the user needs the way out
        raise EngineError("install", _failed(error, wanted, python)) from None
    return torch is not None and _restart()


def upgrade(requirements: list[str], python: str) -> bool:
    """Install the newest versions of these requirements, after asking; returns whether the user has agreed. torch
    stays, whose build fits the graphics card. Raises EngineError in testing mode and when the installation fails.
    """
    wanted = [line for line in requirements if not line.startswith("torch")]
    text = _(
        "The newest versions of these packages are fetched from the internet: {names}.\n\ntorch stays as it is, since "
        "its build fits this computer: the module PyTorch Utils changes it.\n\nUpgrade now?"
    ).format(names=", ".join(wanted))
    return _fetch(wanted, "--upgrade", text, _("BioAttDenoise: upgrade packages"), python)


def install_optional(requirements: list[str], python: str) -> bool:
    """Install what `optional` names, after asking; returns whether the user has agreed. Raises EngineError in testing
    mode and when the installation fails.
    """
    text = _(
        "OpenVINO is fetched from the internet (30 to 90 MB): {names}. Its telemetry stays off.\n\nInstall it into "
        "Slicer now?"
    ).format(names=", ".join(requirements))
    return _fetch(requirements, "--force-reinstall", text, _("BioAttDenoise: install OpenVINO"), python)


def _fetch(requirements: list[str], option: str, question: str, title: str, python: str) -> bool:
    """Install with an option of pip where the user agrees to the question; returns whether that was so."""
    if slicer.app.testingEnabled():
        raise EngineError("install", _("In testing mode nothing is installed."))
    if not slicer.util.confirmOkCancelDisplay(question, title):
        return False
    try:
        for requirement in requirements:
            _install_with_dependencies(requirement, option)
    except Exception as error:  # pip, network, file system: whatever it was, the user needs the way out
        packages = [{"requirement": line, "name": line} for line in requirements]
        raise EngineError("install", _failed(error, packages, python)) from None
    return True


def install_folder(folder: Path) -> list[str]:
    """Install the packages of a folder that `bundle.py` has made, without internet, and copy its models; returns the
    models' names. Raises EngineError where it is no such folder or pip fails.
    """
    packages = folder / bundle.PACKAGES
    if not packages.is_dir():
        text = _('"{name}" has no folder "packages": choose one that bundle.py has made.')
        raise EngineError("install", text.format(name=folder.name))
    wanted = bundle.requirements(bundle.extras_in(packages))
    try:
        slicer.util.pip_install(["--no-index", "--find-links", str(packages), *wanted])
        return bundle.copy_models(folder / bundle.MODELS, models_folder())
    except Exception as error:  # pip, or the file system
        raise EngineError("install", _("The installation failed: {error}").format(error=error)) from None


def offline(packages: list[dict[str, Any]], python: str) -> str:
    """How to install on a computer without internet, with the exact commands."""
    wanted = " ".join(f'"{_to_install(package)}"' for package in packages)
    version = ".".join(platform.python_version_tuple()[:2])
    return _(
        "Without internet on this computer:\n"
        "1. On a connected computer with the same operating system and Python {version}:\n"
        "   python -m pip download --dest packages {wanted}\n"
        "2. Bring the folder packages here, close Slicer, and run in a terminal (Windows: Command Prompt):\n"
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
    if package["state"] == "broken":  # pip takes a half-installed package for installed and never repairs it
        _remove_leftovers("torch")
        with contextlib.suppress(Exception):  # where nothing is left that pip could remove
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
    """Take away a package's metadata without record or version: pip stops at them whatever it is asked to do."""
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
    """Without those that are bundled, which Slicer 5.10 cannot leave out: the package without dependencies, then those
    that are missing in the same way.
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
    """Whether the user has agreed to it."""
    text = _(
        "torch was installed. Restarting Slicer now is recommended, because the installer has loaded parts of it.\n\n"
        "What is not saved in the scene is lost then, without another question. To keep it choose No, save the scene, "
        "and restart Slicer yourself.\n\nRestart Slicer now?"
    )
    agreed = slicer.util.confirmYesNoDisplay(text, _("BioAttDenoise: restart"))
    if agreed:
        slicer.util.restart()
    return agreed


def _lines(path: Path) -> list[str]:
    lines = [line.split(" #")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]
