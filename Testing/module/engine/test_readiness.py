"""Clicks while the installation is checked and while packages are installed, with a stand-in for Slicer's installer."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def open_panel(make_driver, slicer):
    """open_panel(enter=True) opens a panel and its sections; driver.maps has the widgets of the "Attention" page."""

    def make(enter=True):
        driver = make_driver(enter=False)
        sections = {type(section).__name__: section for section in driver.panel.sections}
        driver.attention, driver.maps = sections["AttentionSection"], sections["AttentionSection"].ui
        driver.batch = sections["BatchSection"].ui
        driver.unfold()
        slicer.app.processEvents()
        driver.behave("steady")
        driver.widget.enter()
        if enter:
            driver.wait_idle()
        return driver

    return make


@pytest.fixture
def checking(open_panel, make_ct, slicer):
    """A newly opened panel that is checking the installation; the check ends when the test waits for something."""
    slicer.util.setSliceViewerLayers(background=make_ct(), fit=True)
    driver = open_panel(enter=False)
    assert driver.logic.jobs.checking
    driver.hold_replies()
    return driver


def press(button) -> None:
    """Left-click a widget, enabled or not."""
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def finish(driver) -> None:
    """Wait for everything to end, then check that the panel still denoises."""
    driver.until(lambda: not driver.attention.computing)
    driver.wait_idle()
    driver.denoise()
    assert "Done" in driver.status
    assert driver.errors == []


@pytest.mark.parametrize("live", [False, True])
def test_maps_take_the_place_of_a_preview_that_waits(checking, live):
    checking.parameters.livePreview = live
    checking.click(checking.ui.previewButton)
    assert checking.panel.live.computing
    assert checking.logic.jobs.checking
    checking.click(checking.maps.computeMapsButton)
    assert not checking.panel.live.computing
    assert not checking.ui.previewButton.checked
    assert "attention maps" in checking.status
    checking.until(lambda: not checking.attention.computing)
    assert "Attention maps are ready" in checking.status
    finish(checking)


def test_a_preview_takes_the_place_of_maps_that_wait(checking):
    checking.click(checking.maps.computeMapsButton)
    checking.click(checking.ui.previewButton)
    assert not checking.attention.computing
    assert checking.maps.computeMapsButton.text == "Compute maps"
    checking.until(lambda: not checking.panel.live.computing)
    assert "Preview of one slice" in checking.status
    finish(checking)


def test_maps_that_wait_can_be_cancelled(checking):
    checking.click(checking.maps.computeMapsButton)
    assert checking.logic.jobs.checking
    checking.click(checking.maps.computeMapsButton)
    assert not checking.attention.computing
    assert checking.status == "Cancelled."
    checking.until(lambda: not checking.logic.jobs.checking)
    assert checking.maps.computeMapsButton.enabled
    assert checking.advanced.deviceFoundLabel.text == "Found: CPU, 4 threads.", "what was found is kept"
    finish(checking)


@pytest.mark.parametrize("first", ["maps", "preview"])
def test_denoise_goes_before_what_waits(checking, first):
    checking.click(checking.maps.computeMapsButton if first == "maps" else checking.ui.previewButton)
    assert checking.logic.jobs.checking
    checking.click(checking.ui.denoiseButton)
    assert not checking.attention.computing
    assert not checking.panel.live.computing
    assert checking.status == "Checking the installation…"
    assert not checking.maps.computeMapsButton.enabled
    assert not checking.ui.previewButton.enabled
    checking.wait_idle()
    assert "Done" in checking.status
    finish(checking)


@pytest.mark.parametrize("what", ["maps", "preview", "denoise"])
def test_the_scene_is_closed_while_something_waits(checking, make_ct, slicer, what):
    buttons = {
        "maps": checking.maps.computeMapsButton,
        "preview": checking.ui.previewButton,
        "denoise": checking.ui.denoiseButton,
    }
    checking.click(buttons[what])
    assert checking.logic.jobs.checking
    slicer.mrmlScene.Clear(0)
    assert not checking.attention.computing
    assert not checking.panel.live.computing
    assert checking.panel.state.value == "idle"
    make_ct()
    checking.behave("steady")
    finish(checking)


class Installer:
    """Stands in for Slicer's installer: calls `meanwhile` during the first installation, which then succeeds."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runs = folder, 0
        self.meanwhile = lambda: None

    def pip_ensure(self, wanted, **more) -> None:
        self.runs += 1
        if self.runs == 1:
            self.meanwhile()
        info = self.folder / "halfpackage-2.9.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: halfpackage\nVersion: 2.9\n")
        (info / "RECORD").write_text("halfpackage/__init__.py,,\n")
        (self.folder / "halfpackage").mkdir(exist_ok=True)
        (self.folder / "halfpackage" / "__init__.py").touch()


@pytest.fixture
def installer(slicer, scene, monkeypatch, tmp_path):
    """The stand-in installer of a missing package; the user agrees to install it."""
    from slicer import packaging

    made = Installer(tmp_path)
    (tmp_path / "requirements.txt").write_text("halfpackage>=2.6\n")
    (tmp_path / "requirements-openvino.txt").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(packaging, "pip_ensure", made.pip_ensure)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *a, **k: True)
    return made


@pytest.fixture
def unready(open_panel, make_ct, installer):
    """A panel on a computer with a missing package."""
    make_ct()
    driver = open_panel()
    driver.panel.readiness.resources = installer.folder
    driver.panel.readiness.forget()
    return driver


def test_an_installation_cannot_be_cancelled_and_says_so(unready, installer):
    driver, seen = unready, {}

    def cancel():
        driver.settle()
        seen["text"], seen["status"] = driver.ui.denoiseButton.text, driver.status
        seen["enabled"] = [
            button.name
            for button in (
                driver.ui.denoiseButton,
                driver.ui.previewButton,
                driver.maps.computeMapsButton,
                driver.batch.allVolumesButton,
                driver.advanced.downloadButton,
                driver.advanced.importButton,
            )
            if button.enabled
        ]
        press(driver.ui.denoiseButton)
        press(driver.ui.denoiseButton)
        driver.settle()

    installer.meanwhile = cancel
    driver.denoise()
    assert seen == {
        "text": "Installing…",
        "status": "Installing packages… This cannot be cancelled.",
        "enabled": [],
    }
    assert "Done" in driver.status
    assert installer.runs == 1
    finish(driver)


@pytest.mark.parametrize("what", ["maps", "preview"])
def test_nothing_else_starts_while_packages_are_installed(unready, installer, what):
    from BioAttDenoiseLib.engine.job import Kind

    driver = unready
    buttons = {"maps": driver.maps.computeMapsButton, "preview": driver.ui.previewButton}
    errors = []

    def ask():
        driver.settle()
        for button in (driver.ui.denoiseButton, *buttons.values()):
            assert not button.enabled
            press(button)
        driver.logic.ensure(Kind.PREVIEW, "maps", lambda: errors.append("ready"), errors.append)

    installer.meanwhile = ask
    driver.click(buttons[what])
    driver.until(lambda: installer.runs and not driver.attention.computing)
    driver.wait_idle()
    assert [str(error) for error in errors] == [
        "Packages are being installed. Wait until the installation has finished."
    ]
    assert ("Preview of one slice" if what == "preview" else "maps are ready") in driver.status
    assert installer.runs == 1
    finish(driver)


@pytest.mark.parametrize("what", ["denoise", "maps", "preview"])
def test_the_scene_is_closed_while_packages_are_installed(unready, installer, make_ct, slicer, capfd, what):
    driver = unready
    buttons = {
        "denoise": driver.ui.denoiseButton,
        "maps": driver.maps.computeMapsButton,
        "preview": driver.ui.previewButton,
    }

    def close():
        slicer.mrmlScene.Clear(0)
        make_ct(name="next")
        driver.settle()
        assert not driver.ui.denoiseButton.enabled, "pip still runs"
        press(driver.ui.denoiseButton)

    installer.meanwhile = close
    driver.click(buttons[what])
    driver.until(lambda: installer.runs and not driver.panel.readiness.installing)
    driver.until(lambda: driver.ui.denoiseButton.enabled)
    assert not driver.attention.computing
    assert not driver.panel.live.computing
    assert "Traceback" not in capfd.readouterr().err
    driver.behave("steady")
    finish(driver)
    assert installer.runs == 1


def test_slicer_is_quit_while_packages_are_installed(unready, installer, slicer):
    driver = unready
    installer.meanwhile = driver.python.cleanup
    driver.click(driver.ui.denoiseButton)
    driver.until(lambda: installer.runs and not driver.panel.readiness.installing)
    driver.settle()
    assert driver.logic.jobs.process is None


@pytest.mark.parametrize("agree", [True, False])
def test_after_a_restart_no_process_is_started(unready, slicer, monkeypatch, agree):
    from BioAttDenoiseLib.engine import install

    driver, restarts = unready, []
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text, *more: agree)
    monkeypatch.setattr(slicer.util, "restart", lambda: restarts.append(driver.logic.jobs.running))
    monkeypatch.setattr(install, "_install_torch", lambda package: None)
    monkeypatch.setattr(install, "requirements", lambda resources, prior: ["torch>=999"])
    driver.click(driver.ui.denoiseButton)
    driver.until(lambda: not driver.panel.readiness.installing and driver.panel.state.value == "idle")
    assert restarts == ([None] if agree else [])
    if agree:
        assert not driver.logic.jobs.busy
        assert "Cancelled" in driver.status
    else:
        assert "Not installed: torch" in driver.status
