"""The user's own prior and descriptor set files in the panel; a bad file is refused with the reason."""

from __future__ import annotations

import json

import pytest

NAMES = ("lungs", "heart", "liver")


@pytest.fixture
def pick(monkeypatch):
    """pick(path) makes the file dialog return that path; an empty path cancels it."""
    import qt

    def choose(path) -> None:
        answer = staticmethod(lambda *arguments: (str(path), "JSON (*.json)"))
        monkeypatch.setattr(qt.QFileDialog, "getOpenFileName", answer)

    return choose


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def descriptor_set(path, names):
    return write(path, {"name": "mine", "descriptors": [{"name": name} for name in names]})


def sent(driver, monkeypatch):
    """A list that collects (kind, fields) of every request from now on."""
    requests, submit = [], driver.logic.jobs.submit

    def record(kind, request, **more):
        if request is not None:
            requests.append((request.kind, request.fields))
        return submit(kind, request, **more)

    monkeypatch.setattr(driver.logic.jobs, "submit", record)
    return requests


@pytest.fixture
def driver(make_ct, make_driver, monkeypatch):
    """A panel with a volume; packages are not checked, whichever source of anatomy is chosen."""
    make_ct()
    made = make_driver()
    made.behave("steady")
    monkeypatch.setattr(made.panel.readiness, "passes", lambda job: True)
    return made


def test_a_prior_from_a_file(slicer, driver, pick, tmp_path, monkeypatch):
    path = write(tmp_path / "prior.json", {"descriptors": list(NAMES), "probabilities": [0.2, 0.3, 0.5]})
    pick(path)
    driver.choose(driver.advanced.priorComboBox, "From a file…")
    assert driver.parameters.prior == str(path)
    assert driver.advanced.priorComboBox.currentText == "prior.json"
    requests = sent(driver, monkeypatch)
    driver.denoise()
    assert "Done" in driver.status
    assert [fields["prior"] for kind, fields in requests if kind == "denoise"] == [str(path)]
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    assert driver.advanced.priorComboBox.currentText == "Built-in"
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert driver.advanced.priorComboBox.currentText == "prior.json"
    path.unlink()
    driver.parameters.tileSize = 128  # makes the engine create a new denoiser
    driver.denoise()
    assert driver.status == "⚠ Prior file prior.json cannot be opened: check the path."
    assert driver.errors == []


def test_a_scene_of_an_earlier_version_opens_with_the_built_in_source(slicer, driver, tmp_path, monkeypatch):
    driver.parameters.prior = "embedded"
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert driver.advanced.priorComboBox.currentText == "Built-in"
    requests = sent(driver, monkeypatch)
    driver.denoise()
    assert [fields["prior"] for kind, fields in requests if kind == "denoise"] == ["maps"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "prior file own.json is not JSON"),
        ({"probabilities": [1]}, 'a prior must be {"descriptors"'),
        ({"descriptors": ["a", "b"], "probabilities": [0.9, 0.9]}, "prior is not a distribution"),
        (None, "prior file own.json cannot be opened"),
    ],
)
def test_a_bad_prior_file_is_refused_with_the_reason_and_nothing_changes(driver, pick, tmp_path, content, reason):
    path = tmp_path / "own.json"
    if content is not None:
        write(path, content)
    pick(path)
    driver.choose(driver.advanced.priorComboBox, "From a file…")
    assert driver.status.startswith("⚠ ")
    assert reason in driver.status
    assert "\n" not in driver.status
    assert driver.parameters.prior == "maps"
    assert driver.advanced.priorComboBox.currentText == "Built-in"
    pick("")
    driver.choose(driver.advanced.priorComboBox, "From a file…")
    assert driver.parameters.prior == "maps", "the dialog was cancelled"
    assert driver.advanced.priorComboBox.currentText == "Built-in"


def test_a_descriptor_set_of_the_users_own(slicer, driver, pick, tmp_path, monkeypatch):
    driver.unfold()
    driver.settle()
    assert not driver.advanced.descriptorsComboBox.visible, "the built-in source knows its own words only"
    driver.parameters.prior = "biomedclip"
    assert driver.advanced.descriptorsComboBox.visible
    assert driver.advanced.descriptorsComboBox.currentText == "The model's own"
    path = descriptor_set(tmp_path / "mine.json", [*NAMES, "tumour"])
    pick(path)
    driver.choose(driver.advanced.descriptorsComboBox, "From a file…")
    assert driver.advanced.descriptorsComboBox.currentText == "mine.json"
    requests = sent(driver, monkeypatch)
    driver.denoise()
    driver.click(driver.ui.previewButton)
    driver.wait_idle()
    assert [(kind, fields["descriptors"]) for kind, fields in requests] == [
        ("denoise", str(path)),
        ("preview", str(path)),
    ]
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert driver.advanced.descriptorsComboBox.currentText == "mine.json"
    driver.parameters.prior = "uniform"
    driver.denoise()
    assert "descriptors" not in requests[-1][1], "this source takes none"


def test_a_set_that_does_not_cover_the_model_is_refused_with_the_list(driver, pick, tmp_path):
    driver.parameters.prior = "biomedclip"
    pick(descriptor_set(tmp_path / "mine.json", ["lungs", "tumour"]))
    driver.choose(driver.advanced.descriptorsComboBox, "From a file…")
    driver.denoise()
    assert driver.status == "⚠ Descriptor set mine lacks heart, liver: add them under these names."
    assert driver.errors == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[1", "descriptor set own.json is not JSON"),
        ({"name": "mine"}, "descriptor set own.json: the file lacks 'descriptors'"),
        ({"name": "mine", "descriptors": [{"name": "liver"}, {"name": "Liver"}]}, "is named twice"),
    ],
)
def test_a_bad_descriptor_set_is_refused_with_the_reason(driver, pick, tmp_path, content, reason):
    driver.parameters.prior = "biomedclip"
    pick(write(tmp_path / "own.json", content))
    driver.choose(driver.advanced.descriptorsComboBox, "From a file…")
    assert reason in driver.status
    assert driver.parameters.descriptors == ""
    assert driver.advanced.descriptorsComboBox.currentText == "The model's own"
