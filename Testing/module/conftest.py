"""Fixtures for the module's tests: headless Slicer, an empty scene, and a logic with the stand-in engine."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

for folder in (Path(__file__).parents[1], Path(__file__).parents[2] / "BioAttDenoise"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from places import MODULE, STAND_IN  # noqa: E402


@pytest.fixture(scope="session")
def slicer() -> Any:
    """The headless Slicer's module `slicer`. If its libraries are missing, tests skip, or fail with CI=true."""
    import slicer_runtime

    if problem := slicer_runtime.missing_libraries():
        if os.environ.get("CI") == "true":
            pytest.fail(problem)
        pytest.skip(problem)
    slicer_runtime.start()
    import slicer

    return slicer


@pytest.fixture
def scene(slicer: Any) -> Iterator[Any]:
    """An empty scene, cleared again afterwards."""
    type(slicer.app).testing = False
    slicer.mrmlScene.Clear(0)
    yield slicer.mrmlScene
    slicer.mrmlScene.Clear(0)


@pytest.fixture
def make_ct(scene: Any, slicer: Any) -> Callable[..., Any]:
    """make_ct(slices=12, size=32, name="CT") adds a volume of plausible HU with a non-trivial geometry."""

    def make(slices: int = 12, size: int = 32, name: str = "CT", dtype: Any = np.int16) -> Any:
        noise = np.random.default_rng(7).normal(0, 30, (slices, size, size))
        hu = np.where(np.hypot(*np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]) < 0.8, 40, -1000) + noise
        matrix = np.array([[-0.8, 0, 0, 12.5], [0, -0.8, 0, 20.0], [0, 0, 2.5, -300.0], [0, 0, 0, 1]])
        node = slicer.util.addVolumeFromArray(hu.astype(dtype), ijkToRAS=matrix, name=name)
        display = node.GetDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(350, 45)
        return node

    return make


@pytest.fixture
def until(slicer: Any) -> Callable[..., None]:
    """until(condition, seconds=20) runs Slicer's event loop until the condition holds."""

    def wait(condition: Callable[[], Any], seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {seconds} s in vain")
            slicer.app.processEvents()
            time.sleep(0.002)

    return wait


@pytest.fixture
def alive() -> Callable[[int], bool]:
    """alive(pid) is whether a process is running; a zombie is not."""

    def check(pid: int) -> bool:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return False
        return state not in "ZX"

    return check


@pytest.fixture
def logic(scene: Any) -> Iterator[Any]:
    """The module's logic with the stand-in engine; the model's name selects its behaviour."""
    from BioAttDenoiseLib.logic import DenoiseLogic

    made = DenoiseLogic()
    made.python, made.script = sys.executable, STAND_IN
    yield made
    made.shutdown()


@pytest.fixture(scope="session")
def module(slicer: Any) -> Any:
    """The module, loaded from the clone as an additional module path."""
    import slicer_runtime

    return slicer_runtime.load_module(MODULE / "BioAttDenoise.py")


@pytest.fixture
def views(scene: Any, slicer: Any) -> Any:
    """The layout manager, with the four-up layout."""
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    return slicer.app.layoutManager()


class Driver:
    """A panel on screen, driven by mouse and keyboard."""

    def __init__(self, widget: Any, until: Callable[..., None]) -> None:
        self.widget, self.run_events_until = widget, until
        self.held: dict[str, Any] = {}
        self.python = widget.self()
        self.panel, self.ui, self.logic = self.python.panel, self.python.ui, self.python.logic
        self.sections = {type(section).__name__: section for section in self.panel.sections}
        pages = (self.sections[f"{name}Section"].ui for name in ("Computing", "Models", "Installation"))
        self.advanced = SimpleNamespace(**{name: widget for ui in pages for name, widget in vars(ui).items()})
        self.clicks = 0

    @property
    def parameters(self) -> Any:
        return self.panel.parameters

    @property
    def status(self) -> str:
        return self.ui.statusLabel.text if self.ui.statusLabel.visible else ""

    def click(self, button: Any) -> None:
        """Left-click a visible, enabled widget, after opening its tab page if another one is in front. Both clicks
        count in `clicks`.
        """
        from PySide6.QtCore import QPoint, Qt
        from PySide6.QtTest import QTest

        self.turn_to(button)
        self.settle()
        self.clicks += 1
        assert button.visible, f"{button.name} is not on screen"
        assert button.enabled, f"{button.name} is disabled"
        place = QPoint(8, button.height // 2)  # a check box reacts only on its square and label
        QTest.mouseClick(button, Qt.MouseButton.LeftButton, pos=place)

    def turn_to(self, widget: Any) -> None:
        """Click the tab of the page that holds a widget, unless that page is in front."""
        from PySide6.QtCore import Qt
        from PySide6.QtTest import QTest
        from PySide6.QtWidgets import QTabWidget

        page = widget
        while page is not None and not (page.name or "").endswith("Page"):
            page = page.parent()
        tabs = page
        while tabs is not None and not isinstance(tabs, QTabWidget):
            tabs = tabs.parent()
        if tabs is None or tabs.currentWidget() is page:
            return
        self.settle()
        bar = tabs.tabBar()
        QTest.mouseClick(bar, Qt.MouseButton.LeftButton, pos=bar.tabRect(tabs.indexOf(page)).center())
        self.clicks += 1
        assert tabs.currentWidget() is page

    def unfold(self, *buttons: Any) -> None:
        """Open the sections with these headers (default: all)."""
        ui = self.ui
        for button in buttons or (ui.compareCollapsibleButton, ui.anatomyCollapsibleButton,
                                  ui.evaluationCollapsibleButton, ui.advancedCollapsibleButton):  # fmt: skip
            button.collapsed = False

    def settle(self) -> None:
        """Let layouts take effect."""
        import slicer

        for _ in range(3):
            slicer.app.processEvents()

    def choose(self, comboBox: Any, text: str) -> None:
        """Choose an entry of a combo box as the user does."""
        index = comboBox.findText(text)
        assert index >= 0, f"{comboBox.name} has no entry {text!r}"
        assert comboBox.enabled
        comboBox.setCurrentIndex(index)

    def behave(self, behaviour: str) -> None:
        """Make the stand-in engine behave this way (see stand_in_worker)."""
        self.parameters.model = behaviour

    def hold_replies(self) -> None:
        """Let the engine's replies arrive only when the test next waits for something."""
        self.held = vars(self.logic.jobs.process)
        self.held["messages"] = list

    def until(self, condition: Callable[[], Any], seconds: float = 20) -> None:
        """Run Slicer's event loop until the condition holds."""
        self.held.pop("messages", None)
        self.run_events_until(condition, seconds)

    def wait_idle(self) -> None:
        self.until(
            lambda: self.panel.state.value == "idle" and not self.panel.live.computing and not self.logic.jobs.busy
        )

    def denoise(self) -> None:
        self.click(self.ui.denoiseButton)
        self.wait_idle()


@pytest.fixture
def change_hu() -> int:
    """HU that the stand-in engine subtracts at the default strength."""
    from bioatt.core.strength import DEFAULT_STRENGTH

    return round(20 * DEFAULT_STRENGTH)


@pytest.fixture
def make_driver(
    module: Any, views: Any, slicer: Any, until: Callable[..., None], monkeypatch: Any
) -> Iterator[Callable[[], Driver]]:
    """make_driver() opens a new panel with the stand-in engine; driver.errors collects error pop-ups."""
    made = []
    errors: list[str] = []
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda text, **more: errors.append(text))

    def make(enter: bool = True) -> Driver:
        widget = module.createNewWidgetRepresentation()
        driver = Driver(widget, until)
        driver.errors = errors
        driver.logic.python, driver.logic.script = sys.executable, STAND_IN
        widget.resize(320, 900)
        widget.show()
        made.append(driver)
        if enter:
            widget.enter()
            driver.wait_idle()
        return driver

    yield make
    for driver in made:
        driver.python.cleanup()
        driver.widget.release()


@pytest.fixture
def pair(slicer, make_ct):
    """An input and a smoothed output with the same geometry; Slicer's views show the input."""
    from scipy.ndimage import gaussian_filter

    from BioAttDenoiseLib.scene import volumes

    before = make_ct(slices=9, size=48, name="CT")
    hu = slicer.util.arrayFromVolume(before)
    hu[:, 10:20, 24:34] += 60  # a recognisable structure
    slicer.util.arrayFromVolumeModified(before)
    after = volumes.make_output(before, None, "CT denoised")
    slicer.util.updateVolumeFromArray(after, gaussian_filter(hu.astype(np.float32), (0, 1, 1)).round().astype(np.int16))
    manager = slicer.app.layoutManager()
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    for name in manager.sliceViewNames():
        composite = manager.sliceWidget(name).mrmlSliceCompositeNode()
        composite.SetBackgroundVolumeID(before.GetID())
        manager.sliceWidget(name).fitSliceToBackground()
    return before, after


@pytest.fixture
def drag(slicer):
    """drag(slice widget, window, level) sets the window as Slicer's mouse tool does at the centre of the view."""

    def set_window(widget, window, level):
        logic = widget.sliceLogic()
        place = [widget.mrmlSliceNode().GetSliceToRAS().GetElement(row, 3) for row in range(3)]
        if logic.GetEditableLayerAtWorldPosition(place) == logic.LayerForeground:
            logic.SetForegroundWindowLevel(window, level)
        else:
            logic.SetBackgroundWindowLevel(window, level)

    return set_window


@pytest.fixture
def maps(slicer, pair):
    """Attention maps of the pair at stage "last": lungs (0.1; 0.9 in a square), liver (0.2) and the unified map."""
    from BioAttDenoiseLib.inspection.attention_maps import AttentionMaps, SlicePrior
    from BioAttDenoiseLib.scene import regions, volumes

    shape = slicer.util.arrayFromVolume(pair[0]).shape
    region = regions.whole_region(shape, volumes.ijk_to_ras(pair[0]))
    p = np.linspace(0.2, 0.8, shape[0], dtype=np.float32)
    prior = SlicePrior(("lungs", "liver"), np.stack([p, 1 - p], axis=1), 0, "maps")
    lungs, liver = np.full(shape, 26, np.uint8), np.full(shape, 51, np.uint8)
    lungs[:, 12:36, 12:36] = 230
    unified = ((lungs * p[:, None, None]) + liver * (1 - p[:, None, None])).round().astype(np.uint8)
    return AttentionMaps(
        region, shape, prior, {("last", "lungs"): lungs, ("last", "liver"): liver, ("last", "unified"): unified}
    )


@pytest.fixture
def driver_on(slicer, make_ct, make_driver, views):
    """driver_on(slices, size) opens a panel with the "steady" engine and a scan of that size in the slice views."""

    def make(slices: int, size: int) -> Driver:
        slicer.util.setSliceViewerLayers(background=make_ct(slices, size), fit=True)
        driver = make_driver()
        driver.behave("steady")
        return driver

    return make


@pytest.fixture
def story(driver_on):
    """A driver with a denoised volume and the sections open."""
    driver = driver_on(9, 48)
    driver.unfold()
    driver.denoise()
    return driver
