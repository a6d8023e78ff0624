"""What the engine needs in Slicer's Python, and how it gets there: asked for once, never at import, never in tests.

torch is installed by the extension PyTorch (PyTorchUtils), the rest by Slicer's own installer. Whether something is
missing is found out in the engine's process, by metadata. `PyTorchUtils.torchInstalled()` is never called: it imports
torch into Slicer and fails on a half-installed one.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from .engine import EngineError

BUNDLED = ["torch", "torchvision", "SimpleITK", "numpy", "pydicom"]
"""Never replaced by pip: torch's build fits the graphics card, the others are Slicer's."""
BIOMEDCLIP = "biomedclip"


def torch_requirement(system: str | None = None, machine: str | None = None) -> str:
    """Versions of torch that work here. Windows: 2.13 has paths that Windows cannot write. Intel Macs: 2.2 is the last
    one.
    """
    system, machine = system or platform.system(), machine or platform.machine()
    if system == "Windows":
        return ">=2.6,<2.13"
    return ">=2.2,<2.3" if (system, machine) == ("Darwin", "x86_64") else ">=2.6"


def requirements(resources: Path, prior: str) -> list[str]:
    """Requirements for a prior's source: torch first."""
    files = ["requirements.txt"] + (["requirements-biomedclip.txt"] if prior.startswith(BIOMEDCLIP) else [])
    lines = [line for name in files for line in _lines(resources / name)]
    return [f"torch{torch_requirement()}", *lines]


def install(packages: list[dict[str, Any]], python: str) -> bool:
    """Install what `packages` (the engine's answer to `check`) says is not ok, after asking. Returns whether something
    was installed.

    Raises EngineError where the user declines, in testing mode, or when the installation fails (with instructions for
    an offline computer).
    """
    wanted = [package for package in packages if package["state"] != "ok"]
    if not wanted:
        return False
    names = ", ".join(package["name"] for package in wanted)
    if slicer.app.testingEnabled():
        raise EngineError(
            "install", _("Not installed: {names}. In testing mode nothing is installed.").format(names=names)
        )
    if not _agreed(wanted):
        raise EngineError("install", _("Denoising needs {names}. Press Denoise again to install.").format(names=names))
    torch = next((package for package in wanted if package["name"] == "torch"), None)
    try:
        if torch is not None:
            _install_torch(torch)
        rest = [package["requirement"] for package in wanted if package["name"] != "torch"]
        if rest:
            _install_rest(rest)
    except EngineError:
        raise
    except Exception as error:  # pip, network, file system: whatever it was, the user needs the way out
        raise EngineError(
            "install", _("The installation failed: {error}").format(error=error) + "\n\n" + offline(wanted, python)
        ) from None
    if torch is not None:
        _offer_restart()
    return True


def offline(packages: list[dict[str, Any]], python: str) -> str:
    """How to install on a computer without internet, with the exact commands."""
    wanted = " ".join(f'"{package["requirement"]}"' for package in packages)
    version = ".".join(platform.python_version_tuple()[:2])
    return _(
        "Without internet on this computer:\n"
        "1. On a connected computer with the same operating system and Python {version}:\n"
        "   python -m pip download --dest packages {wanted}\n"
        "2. Bring the folder packages here, close Slicer, and run in a terminal:\n"
        '   "{python}" -m pip install --no-index --find-links packages {wanted}'
    ).format(version=version, wanted=wanted, python=python)


def _agreed(packages: list[dict[str, Any]]) -> bool:
    size = _(" (about 2.5 GB with torch for a graphics card)") if any(p["name"] == "torch" for p in packages) else ""
    text = _(
        "BioAttDenoise needs Python packages that are not installed yet{size}.\n\nInstall them into Slicer now?"
    ).format(size=size)
    details = "\n".join(
        f"{p['requirement']}: {p['state']}{' (' + p['version'] + ')' if p['version'] else ''}" for p in packages
    )
    return slicer.util.confirmOkCancelDisplay(text, _("BioAttDenoise: install packages"), detailedText=details)


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
        slicer.util.pip_uninstall("torch")
    PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False, torchVersionRequirement=torch_requirement())


def _install_rest(wanted: list[str]) -> None:
    try:
        from slicer import packaging
    except ImportError:  # Slicer 5.10
        for requirement in wanted:
            _install_with_dependencies(requirement)
        return
    packaging.pip_ensure(
        wanted, skip_packages=BUNDLED, prompt_install=False, prompt_restart=False, requester="BioAttDenoise"
    )


def _install_with_dependencies(requirement: str) -> None:
    """Slicer 5.10 cannot leave packages out: install without dependencies, then those that are missing and not bundled
    in the same way.
    """
    from importlib import metadata

    from packaging.requirements import Requirement

    slicer.util.pip_install(["--no-deps", requirement])
    for line in metadata.requires(Requirement(requirement).name) or []:
        needed = Requirement(line)
        if needed.name in BUNDLED or (needed.marker is not None and not needed.marker.evaluate({"extra": ""})):
            continue
        try:
            satisfied = needed.specifier.contains(metadata.version(needed.name), prereleases=True)
        except metadata.PackageNotFoundError:
            satisfied = False
        if not satisfied:
            _install_with_dependencies(f"{needed.name}{needed.specifier}")


def _offer_restart() -> None:
    text = _(
        "torch was installed. Restarting Slicer now is recommended, because the installer has loaded parts of it.\n\n"
        "Restart Slicer?"
    )
    if slicer.util.confirmYesNoDisplay(text, _("BioAttDenoise: restart")):
        slicer.util.restart()


def _lines(path: Path) -> list[str]:
    lines = [line.split(" #")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]
