"""Slicer without the application, for tests: the slicer-core wheel (real MRML), PySide6, and stand-ins for what the
wheel lacks.

    import slicer_runtime
    slicer_runtime.start()                       # from here on, `slicer`, `qt` and `ctk` can be imported
    module = slicer_runtime.load_module(path)    # module.widgetRepresentation() is its panel

With `SLICER_BASE_PYTHON=DIR`, ScriptedLoadableModule, parameterNodeWrapper, i18n and packaging come from Slicer's own
Base/Python instead of ours. The process needs EGL and Qt's libraries; `missing_libraries()` lists what to install.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import sys
from pathlib import Path
from typing import Any

APT_LINE = (
    "apt-get install -y --no-install-recommends "
    "libegl1 libgl1 libopengl0 libxkbcommon0 libfontconfig1 libdbus-1-3 libglib2.0-0 fonts-dejavu-core"
)
LIBRARIES = (
    "libEGL.so.1",
    "libGL.so.1",
    "libOpenGL.so.0",
    "libxkbcommon.so.0",
    "libfontconfig.so.1",
    "libdbus-1.so.3",
    "libglib-2.0.so.0",
)
PACKAGES = {"slicer_core": "slicer-core", "PySide6": "PySide6-Essentials"}
BASE_PYTHON = Path(__file__).parent / "base_python"

_app: Any = None


def missing_libraries() -> str:
    """An empty string if the runtime can start, else one line: what is missing and the command to install it."""
    libraries = [name for name in LIBRARIES if sys.platform.startswith("linux") and not _loads(name)]
    folders = [Path(folder) for folder in sys.path if folder]
    packages = [pip for name, pip in PACKAGES.items() if not any((folder / name).is_dir() for folder in folders)]
    cures = ([APT_LINE] if libraries else []) + ([f"pip install {' '.join(packages)}"] if packages else [])
    return f"missing {', '.join([*libraries, *packages])}: {'; '.join(cures)}" if cures else ""


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def start(main_window: bool = True) -> Any:
    """Start this process's application, or return the running one. Raises RuntimeError if libraries are missing."""
    global _app
    if _app is not None:
        return _app
    if problem := missing_libraries():
        raise RuntimeError(problem)
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from slicer_runtime import pythonqt

    pythonqt.install()
    pythonqt.quieten(
        "This plugin does not support propagateSizeHints()"
    )  # the offscreen platform prints this for every window
    import slicer

    from slicer_runtime import ctk_widgets

    ctk_widgets.install()
    import qt

    from slicer_runtime import mrml_widgets, ui_loader

    mrml_widgets.install()
    ui_loader.install((*ctk_widgets.WIDGETS, *mrml_widgets.WIDGETS))
    slicer.__path__.append(os.path.join(os.environ.get("SLICER_BASE_PYTHON", str(BASE_PYTHON)), "slicer"))
    from slicer_runtime.application import qSlicerApplication

    slicer.app = _app = qSlicerApplication(main_window)
    qt.QApplication.setStyle("Fusion")
    slicer.selfTests = {}
    from types import SimpleNamespace

    slicer.modules = SimpleNamespace()
    slicer.moduleNames = SimpleNamespace()
    return _app


def load_module(path: str | Path) -> Any:
    """Load a scripted module file (see `modules.load`)."""
    start()
    from slicer_runtime import modules

    return modules.load(Path(path))
