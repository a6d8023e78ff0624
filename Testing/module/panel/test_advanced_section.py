"""The "Advanced" section: models on this computer, installation, log."""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path

import pytest
from places import PRIOR_FIXTURES


@pytest.fixture
def models(slicer, scene, tmp_path):
    """A separate models folder for each test."""
    from BioAttDenoiseLib.engine.settings import MODELS_FOLDER, set_models_folder

    folder = tmp_path / "models"
    set_models_folder(folder)
    yield folder
    slicer.app.settings().remove(MODELS_FOLDER)


def write_model(path: Path, metadata: dict | None) -> Path:
    header = json.dumps({"__metadata__": metadata} if metadata is not None else {}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path


def entries(comboBox) -> list[str]:
    return [comboBox.itemText(index) for index in range(comboBox.count)]


def test_models_offered(models, make_driver):
    """Automatic comes first, then the shipped models; one whose file is not here is marked as missing."""
    from BioAttDenoiseLib.engine import catalogue

    shipped = json.loads((catalogue.shipped_models_folder() / "models.json").read_text())["models"]
    driver = make_driver()
    offered = entries(driver.advanced.modelComboBox)
    assert offered[0] == "Automatic"
    assert offered[1 : 1 + len(shipped)] == [
        line["name"] if (catalogue.shipped_models_folder() / line["file"]).is_file() else f"{line['name']} (missing)"
        for line in shipped
    ]


def test_a_missing_model_cannot_be_chosen(models, make_driver, monkeypatch):
    from BioAttDenoiseLib.engine import catalogue

    listed = [
        catalogue.ModelEntry("gone", "gone", "was here once", False),
        catalogue.ModelEntry("here", "here", "is here", True),
    ]
    monkeypatch.setattr(catalogue, "models", lambda: listed)
    driver = make_driver()
    box = driver.advanced.modelComboBox
    assert entries(box)[1:3] == ["gone (missing)", "here"]
    flags = [bool(box.model().index(row, 0).flags().value & 32) for row in (1, 2)]  # Qt.ItemIsEnabled
    assert flags == [False, True]


def test_import_and_remove_a_model(models, make_driver, make_ct, tmp_path, slicer, monkeypatch):
    make_ct()
    driver = make_driver()
    section = driver.sections["ModelsSection"]
    source = write_model(tmp_path / "mine.safetensors", {"bioatt": "{}"})
    section.importModel(source)
    assert (models / "mine.safetensors").read_bytes() == source.read_bytes()
    assert driver.advanced.modelComboBox.currentText == "mine"
    assert driver.parameters.model == str(models / "mine.safetensors")
    driver.ui.advancedCollapsibleButton.collapsed = False
    driver.choose(driver.advanced.manageComboBox, "mine")
    slicer.app.processEvents()
    asked = []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, *more: asked.append(text) or True)
    driver.click(driver.advanced.removeButton)
    assert len(asked) == 1
    assert not list(models.glob("*"))
    assert driver.parameters.model == "auto"
    assert "mine" not in entries(driver.advanced.modelComboBox)


@pytest.mark.parametrize("content", [b"", b"text", struct.pack("<Q", 1 << 60) + b"{", None])
def test_what_is_no_model_is_not_imported(models, make_driver, tmp_path, content):
    path = tmp_path / "other.safetensors"
    if content is None:
        write_model(path, {"format": "pt"})
    else:
        path.write_bytes(content)
    driver = make_driver()
    driver.sections["ModelsSection"].importModel(path)
    assert "is not a BioAtt model" in driver.status
    assert not list(models.glob("*"))


def test_a_full_disk_leaves_no_half_model(models, make_driver, tmp_path):
    models.mkdir()
    (models / ".mine.safetensors.partial").symlink_to("/dev/full")
    driver = make_driver()
    source = write_model(tmp_path / "mine.safetensors", {"bioatt": "x" * 4096})
    driver.sections["ModelsSection"].importModel(source)
    assert "No space left" in driver.status
    assert not (models / "mine.safetensors").exists()


def test_biomedclip_is_downloaded_after_consent_and_in_the_background(models, make_driver, slicer, monkeypatch):
    """The request goes to the engine's process; this test downloads nothing."""
    driver = make_driver()
    driver.ui.advancedCollapsibleButton.collapsed = False
    slicer.app.processEvents()
    requests = []
    submit = driver.logic.jobs.submit

    def record(kind, request, **callbacks):
        return (
            submit(kind, request, **callbacks) if request is None else requests.append((request.kind, request.fields))
        )

    monkeypatch.setattr(driver.logic.jobs, "submit", record)
    monkeypatch.setattr(driver.panel.readiness, "passes", lambda job: True)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *a, **k: False)
    driver.click(driver.advanced.downloadButton)
    assert requests == []
    asked = []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, *more: asked.append(text) or True)
    driver.click(driver.advanced.downloadButton)
    assert "790 MB" in asked[0]
    assert "huggingface.co/microsoft/BiomedCLIP" in asked[0]
    assert "MIT" in asked[0]
    assert "None of your data is sent" in asked[0]
    assert requests == [("models", {"action": "download", "name": "biomedclip"})]


@pytest.fixture
def downloading(models, make_driver, make_ct, slicer, monkeypatch):
    """A panel that is downloading BiomedCLIP from a hub that never answers."""
    from BioAttDenoiseLib.engine import install

    make_ct()
    with socket.create_server(("127.0.0.1", 0)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.getsockname()[1]}")
        monkeypatch.setattr(install, "requirements", lambda resources, prior: [])
        monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *a, **k: True)
        driver = make_driver()
        driver.behave("steady")
        driver.ui.advancedCollapsibleButton.collapsed = False
        slicer.app.processEvents()
        driver.click(driver.advanced.downloadButton)
        driver.until(lambda: driver.panel.state.value == "running")
        yield driver


def test_a_download_can_be_cancelled_where_a_denoising_can(downloading):
    driver = downloading
    assert driver.status == "Downloading BiomedCLIP…"
    assert driver.ui.denoiseButton.text == "Cancel"
    bar = driver.ui.progressBar
    assert bar.visible
    assert (bar.minimum, bar.maximum) == (0, 0), "busy: nobody says how far it is"
    for button in (driver.ui.previewButton, driver.advanced.importButton, driver.advanced.downloadButton):
        assert not button.enabled
    driver.click(driver.ui.denoiseButton)
    driver.wait_idle()
    assert driver.status == "Cancelled."
    assert driver.advanced.downloadButton.enabled
    driver.denoise()
    assert "Done" in driver.status
    assert (bar.minimum, bar.maximum) == (0, 100)


def test_closing_the_scene_leaves_a_download_alone(downloading, slicer, make_ct):
    driver = downloading
    slicer.mrmlScene.Clear(0)
    make_ct(name="next")
    driver.settle()
    assert driver.logic.jobs.busy
    assert driver.ui.denoiseButton.text == "Cancel"
    driver.click(driver.ui.denoiseButton)
    driver.wait_idle()
    assert driver.status == "Cancelled."


def test_a_script_is_told_that_a_download_runs(downloading):
    """The error must not claim that a denoising is running."""
    from BioAttDenoiseLib.engine.errors import EngineError

    with pytest.raises(EngineError, match="a model is being downloaded or removed"):
        downloading.logic.denoise(downloading.parameters.inputVolume)


@pytest.mark.slow
def test_biomedclip_is_imported_from_a_folder_that_was_carried_here(models, make_driver, slicer, monkeypatch, tmp_path):
    """By clicks, through the engine's own import, with a small BiomedCLIP and no network access."""
    import importlib.util

    import qt

    path = PRIOR_FIXTURES
    specification = importlib.util.spec_from_file_location("small_biomedclip", path)
    writer = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(writer)
    carried = writer.build_small.__wrapped__()(tmp_path / "carried")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    driver = make_driver()
    driver.ui.advancedCollapsibleButton.collapsed = False
    slicer.app.processEvents()
    assert driver.advanced.manageStateLabel.text == "Not on this computer."
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda *a, **k: True)
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", staticmethod(lambda *a, **k: str(carried)))
    driver.click(driver.advanced.importButton)
    driver.until(lambda: not driver.logic.jobs.busy, 60)
    assert driver.status == "Done."
    assert (models / "biomedclip" / "open_clip_model.safetensors").is_file()
    assert driver.advanced.manageStateLabel.text == "On this computer."
    assert "BiomedCLIP" in entries(driver.advanced.priorComboBox), "no hint any more that it must be downloaded"


def test_a_refused_request_about_models_is_told(models, make_driver, slicer, monkeypatch, tmp_path):
    """The engine refuses a folder without BiomedCLIP with a one-line message."""
    (tmp_path / "empty").mkdir()
    driver = make_driver()
    section = driver.sections["ModelsSection"]
    section._manage("import", "Importing…", folder=str(tmp_path / "empty"))
    driver.until(lambda: not driver.logic.jobs.busy, 60)
    assert driver.status.startswith("⚠")
    assert "\n" not in driver.status.strip()


def test_check_installation_writes_what_was_found(make_driver, slicer):
    driver = make_driver()
    driver.ui.advancedCollapsibleButton.collapsed = False
    slicer.app.processEvents()
    driver.click(driver.advanced.checkButton)
    driver.wait_idle()
    assert "All required packages are installed" in driver.status
    log = driver.advanced.logTextEdit.toPlainText()
    assert "torch 2." in log
    assert "CPU, 4 threads" in log
    assert "Slicer 5.12" in log
    driver.click(driver.advanced.copyLogButton)
    assert slicer.app.clipboard().text() == log


@pytest.fixture
def upgrading(make_driver, slicer, monkeypatch):
    """A driver with driver.answer (the user's), driver.asked (the questions) and driver.installed (pip's arguments)."""
    driver = make_driver()
    driver.answer, driver.asked, driver.installed = True, [], []
    monkeypatch.setattr(
        slicer.util, "confirmOkCancelDisplay", lambda text, title: (driver.asked.append(text), driver.answer)[1]
    )
    monkeypatch.setattr(slicer.util, "pip_install", driver.installed.append)
    driver.unfold()
    return driver


def test_upgrade_packages(upgrading):
    process = upgrading.logic.jobs.process
    upgrading.click(upgrading.advanced.upgradeButton)
    assert not process.running, "a library that is loaded cannot be replaced on Windows"
    upgrading.wait_idle()
    assert "safetensors" in upgrading.asked[0]
    assert upgrading.installed == [["--no-deps", "--upgrade", "safetensors>=0.4.3"]], "torch stays"
    assert "All required packages are installed" in upgrading.status
    assert "safetensors 0." in upgrading.advanced.versionsLabel.text


def test_an_upgrade_that_is_declined_installs_nothing(upgrading):
    upgrading.answer = False
    upgrading.click(upgrading.advanced.upgradeButton)
    assert upgrading.installed == []
    assert upgrading.status == ""


def test_an_upgrade_that_fails_says_what_helps_and_can_be_tried_again(upgrading, slicer, monkeypatch):
    def fail(arguments):
        raise RuntimeError("no route to host")

    monkeypatch.setattr(slicer.util, "pip_install", fail)
    upgrading.click(upgrading.advanced.upgradeButton)
    assert "no route to host" in upgrading.status
    assert "pip download" in upgrading.status, "the way without internet"
    monkeypatch.setattr(slicer.util, "pip_install", upgrading.installed.append)
    upgrading.click(upgrading.ui.tryAgainButton)
    upgrading.wait_idle()
    assert len(upgrading.installed) == 1


@pytest.fixture
def without_openvino(upgrading, monkeypatch):
    """`upgrading` without the optional package, which is pinned to a version that does not exist."""
    from BioAttDenoiseLib.engine import install

    monkeypatch.setattr(install, "optional", lambda resources: ["openvino==0.1"])
    monkeypatch.setattr("importlib.metadata.requires", lambda name: [])
    upgrading.click(upgrading.advanced.checkButton)
    upgrading.wait_idle()
    return upgrading


def test_openvino_is_offered_and_installed_after_a_question(without_openvino, monkeypatch):
    from BioAttDenoiseLib.engine import install

    driver = without_openvino
    assert "All required packages are installed" in driver.status, "nothing needs it"
    button = driver.advanced.openVinoButton
    assert (button.text, button.enabled) == ("Install OpenVINO", True)
    driver.answer = False
    driver.click(button)
    assert driver.installed == []
    driver.answer = True
    monkeypatch.setattr(install, "optional", lambda resources: ["numpy>=2"])  # installed, so the next check finds it
    driver.click(button)
    driver.wait_idle()
    assert "telemetry stays off" in driver.asked[-1]
    assert driver.installed == [["--no-deps", "--force-reinstall", "numpy>=2"]]
    assert (button.text, button.enabled) == ("OpenVINO is installed", False)
    assert "numpy 2." in driver.advanced.versionsLabel.text


def test_openvino_that_cannot_be_fetched_can_be_brought(without_openvino, slicer, monkeypatch):
    def fail(arguments):
        raise RuntimeError("no route to host")

    monkeypatch.setattr(slicer.util, "pip_install", fail)
    without_openvino.click(without_openvino.advanced.openVinoButton)
    assert "no route to host" in without_openvino.status
    assert 'pip download --dest packages "openvino==0.1"' in without_openvino.status
    assert without_openvino.advanced.openVinoButton.enabled


def test_the_log_shows_what_the_engine_said(make_driver, make_ct, slicer):
    make_ct(name="Doe^Jane")
    driver = make_driver()
    driver.behave("chatty")
    driver.denoise()
    driver.behave("full")
    driver.denoise()
    log = driver.advanced.logTextEdit.toPlainText()
    assert "hello from Python" in log
    assert "No space left" in log
    assert "Doe" not in log


def test_the_models_folder_is_a_setting_of_the_computer(models, make_driver, slicer, tmp_path):
    from BioAttDenoiseLib.engine.settings import models_folder

    driver = make_driver()
    assert driver.advanced.modelsFolderLineEdit.currentPath == str(models)
    driver.advanced.modelsFolderLineEdit.currentPath = str(tmp_path / "elsewhere")
    assert models_folder() == tmp_path / "elsewhere"
    slicer.mrmlScene.Clear(0)
    assert models_folder() == tmp_path / "elsewhere"
